"""The output file: JSON lines, each complete or absent, under a lock, continued from run to run.

A line goes to the operating system in one piece as soon as it is known, so killing the process at any moment loses
nothing. The file is synced to disk at most once a second: a power cut costs the answers of one second, which the next
run produces again. An incomplete last line, left by an interrupted run, is removed; any other invalid line is an error.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.errors import VtError
from vtcli.trace.text import dump_json
from vtcli.video.text import shown

OPENING = b'{"schema": "vt.answer/1", "id": '
"""The beginning of every line; it distinguishes an incomplete line from the content of an unrelated file."""
_LONGEST = 1 << 26  # bytes per line
_SYNC = 1.0  # seconds
_PART = ".part"
_RANDOM = "[a-z0-9_]" * 8  # what tempfile.mkstemp chooses; other files may have names that begin and end as these do
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class Line:
    """A line's position and size in the file (bytes, with newline), and whether it holds an error, not an answer."""

    offset: int
    size: int
    failed: bool


class Output:
    """An output file, locked for this process until it is closed; created if missing, unless `there` is set.

    Raises VtError where the file cannot be used: another run holds it, it is not a regular file, or it cannot be opened
    for writing.
    """

    def __init__(self, path: Path, there: bool = False) -> None:
        self.lines: dict[str, Line] = {}
        """The lines read or written so far, by id."""
        self._place = os.path.realpath(path)  # a symbolic link survives when its target is replaced
        self._name = shown(path)
        self._fresh = not os.path.exists(self._place)
        self._create = 0 if there else os.O_CREAT
        self._file = self._open()
        self._size = 0
        self._synced = time.monotonic()
        self._sweep()

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields every line's number and record; repairs the end of the file and fills `lines`. Raises VtError."""
        end = os.fstat(self._file).st_size
        with open(self._file, "rb", closefd=False) as file:
            file.seek(0)
            number = 0
            while raw := file.readline(_LONGEST):
                number += 1
                offset = self._size
                record = _record(raw)
                if not raw.endswith(b"\n"):
                    if offset + len(raw) < end or (record is None and not _torn(raw)):
                        raise self._foreign(number)
                    self._mend(offset, raw, record)
                    if record is None:
                        return
                    raw += b"\n"
                if record is None:
                    raise self._foreign(number)
                if record["id"] in self.lines:
                    raise VtError(f"{self._name}, line {number}: a second answer of the id {shown(record['id'])}")
                self._size = offset + len(raw)
                self.lines[record["id"]] = Line(offset, len(raw), _failed(record))
                yield number, record

    def get(self, id: str) -> dict[str, Any]:
        """Returns the record of a line that was read or written."""
        line = self.lines[id]
        with open(self._file, "rb", closefd=False) as file:
            file.seek(line.offset)
            record: dict[str, Any] = json.loads(file.read(line.size))
        return record

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a line; `record` begins with schema and id. Raises VtError, with the file as it was before.

        After Ctrl-C the line is either complete and counted, or absent.
        """
        data = _encoded(record)
        line = Line(self._size, len(data), _failed(record))
        try:
            if not self._is_ours():
                raise VtError(f"{self._name} was removed or replaced while it was written: nothing more is written")
            os.lseek(self._file, line.offset, os.SEEK_SET)
            _write(self._file, data)
            self._sync()
            self._count(record["id"], line)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, line.offset)
            raise self._unwritable(error, f"the {len(self.lines)} answers in it are kept") from error
        except KeyboardInterrupt:
            if os.fstat(self._file).st_size == line.offset + line.size:
                self._count(record["id"], line)
            else:
                os.ftruncate(self._file, line.offset)
            raise

    def _count(self, id: str, line: Line) -> None:
        self.lines[id] = line
        self._size = line.offset + line.size

    def write_all(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replaces the file in one step with these records' lines. Raises VtError, with the file as it was before."""
        try:
            self._rewrite((record["id"], _encoded(record), _failed(record)) for record in records)
        except OSError as error:
            raise self._unwritable(error, "it is as it was") from error

    def update(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Replaces the lines of these ids in one step. Raises VtError, with the file as it was before."""
        try:
            self._rewrite(
                (id, _encoded(records[id]) if id in records else data, failed)
                for id, data, failed in self._stored(list(self.lines))
            )
        except OSError as error:
            raise self._unwritable(error, "it is as it was") from error

    def drop_failed(self) -> int:
        """Removes the lines that hold errors and returns their number. Raises VtError."""
        kept = [id for id, line in self.lines.items() if not line.failed]
        dropped = len(self.lines) - len(kept)
        if dropped:
            try:
                self._rewrite(self._stored(kept))
            except OSError as error:
                raise self._unwritable(error, "it is as it was") from error
        return dropped

    def put_in_order(self, ids: Iterable[str]) -> str | None:
        """Sorts the lines by `ids`, which names all of them; returns a warning where the file cannot be rewritten."""
        order = list(ids)
        if order == list(self.lines):
            return None
        try:
            self._rewrite(self._stored(order))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return f"{self._name} is complete, its lines are left in the order they were answered in: {why}"
        return None

    def close(self) -> None:
        """Syncs the file to disk and unlocks it; removes a file that this run created and left empty."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._file)
            # The size on disk, not `_size`: Ctrl-C may have come just after a line was written.
            if self._fresh and os.fstat(self._file).st_size == 0 and self._is_ours():
                os.unlink(self._place)
        os.close(self._file)
        self._file = -1

    def _open(self) -> int:
        """Opens and locks the file; tries again where another run has replaced it in the meantime."""
        while True:
            try:
                file = os.open(self._place, os.O_RDWR | self._create | _BINARY, 0o666)
            except OSError as error:
                raise VtError(f"{self._name} cannot be opened: {error.strerror or error}") from error
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise VtError(f"{self._name} is no file that a run could go on with: give --output a file's name")
            if not _lock(file):
                os.close(file)
                raise VtError(f"{self._name} is being written by another run: wait for it, or give another --output")
            self._file = file
            if self._is_ours():
                return file
            os.close(file)

    def _sweep(self) -> None:
        """Removes the temporary files of runs killed while rewriting; under the lock no other run can be using them."""
        folder, name = os.path.split(self._place)
        for part in Path(folder).glob(f"{glob.escape(_aside(name))}{_RANDOM}{_PART}"):
            with contextlib.suppress(OSError):
                part.unlink()

    def _is_ours(self) -> bool:
        """Whether the open file is still the one at its path."""
        try:
            there, ours = os.stat(self._place), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _sync(self) -> None:
        now = time.monotonic()
        if now - self._synced >= _SYNC:
            os.fsync(self._file)
            self._synced = now

    def _mend(self, offset: int, raw: bytes, record: object) -> None:
        """Repairs a last line without a newline: completes a whole record, removes anything else."""
        try:
            if record is None:
                os.ftruncate(self._file, offset)
            else:
                os.lseek(self._file, offset + len(raw), os.SEEK_SET)
                _write(self._file, b"\n")
        except OSError as error:
            raise self._unwritable(error, "it is as it was") from error

    def _stored(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes, bool]]:
        """Yields the id and the bytes of these lines, and whether each holds an error."""
        with open(self._file, "rb", closefd=False) as file:
            for id in ids:
                line = self.lines[id]
                file.seek(line.offset)
                yield id, file.read(line.size), line.failed

    def _rewrite(self, content: Iterable[tuple[str, bytes, bool]]) -> None:
        """Replaces the file in one step with only these lines, as `_stored` yields them; it is never incomplete."""
        folder, name = os.path.split(self._place)
        handle, aside = tempfile.mkstemp(prefix=_aside(name), suffix=_PART, dir=folder)
        lines: dict[str, Line] = {}
        size = 0
        try:
            with open(handle, "wb", closefd=False) as sink:
                for id, data, failed in content:
                    sink.write(data)
                    lines[id] = Line(size, len(data), failed)
                    size += len(data)
            os.fsync(handle)
            shutil.copymode(self._place, aside)
            handle = self._replace(handle, aside)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        self._file, self.lines, self._size = handle, lines, size
        _sync_folder(folder)

    def _replace(self, handle: int, aside: str) -> int:
        """Replaces our file with `aside`, which is open as `handle`; returns the handle that holds the lock."""
        if sys.platform == "win32":  # an open file cannot be replaced there
            os.close(handle)
            os.close(self._file)
            try:
                os.replace(aside, self._place)
            finally:
                self._file = self._open()
            return self._file
        _lock(handle)  # before the rename, after which another run may open it
        os.replace(aside, self._place)
        os.close(self._file)
        return handle

    def _foreign(self, number: int) -> VtError:
        return VtError(
            f"{self._name}, line {number}: this is no line of a run; "
            "give another --output, or remove the line if you know it to be damaged"
        )

    def _unwritable(self, error: OSError, kept: str) -> VtError:
        return VtError(f"{self._name} cannot be written: {error.strerror or error}; {kept}")


def _aside(name: str) -> str:
    """Returns the name prefix of the temporary files that replace `name` once they are complete."""
    return f".{name}."


def _encoded(record: Mapping[str, Any]) -> bytes:
    """Returns the line of a record, which begins with schema and id."""
    data = dump_json(record).encode() + b"\n"
    assert data.startswith(OPENING)
    return data


def _failed(record: Mapping[str, Any]) -> bool:
    return record.get("error") is not None


def _record(raw: bytes) -> dict[str, Any] | None:
    """Returns the record of a line, None where the line is not one."""
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict) and record.get("schema") == "vt.answer/1" and isinstance(record.get("id"), str):
        return record
    return None


def _torn(raw: bytes) -> bool:
    """Whether `raw` may be the beginning of a line, or NULs that a power cut left in place of one."""
    return raw.startswith(OPENING) or OPENING.startswith(raw) or not raw.strip(b"\0")


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: str) -> None:
    """Makes a file's new name survive a power cut, where the system supports that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 40  # an offset beyond any file's end: others can still read the whole file

    def _lock(file: int) -> bool:
        os.lseek(file, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        """Locks the file; True on success, and where the file system does not support locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks, as on some network file systems
            pass
        return True
