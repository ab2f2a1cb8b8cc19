"""What a user may name as VIDEO: a file, a folder of numbered pictures, `-` for standard input, an http(s) address.

A `Source` is plain data, so another process can open it too. `resolve` owns whatever has to be copied to disk first
(standard input, a file from a server without range requests) and removes it at the end.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from vtcli.errors import UsageError, VideoError
from vtcli.signals import terminable
from vtcli.video.text import shown

if TYPE_CHECKING:
    from io import BufferedReader

Kind = Literal["file", "url", "folder", "animation"]  # animation: an animated WebP, which FFmpeg does not decode

STDIN = "-"
SPOOL_LIMIT = 32 * 2**30  # bytes copied at most
KEEP_FREE = 2**30  # bytes that a copy leaves free, or a tenth of the disk if that is less
_CHUNK = 2**20
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # a single letter is a drive
_HEAD = 21  # bytes of a file that identify an animation
_FOLDER_FRAMES = 16
_NAMELESS = sys.platform == "linux" and os.path.isdir("/proc/self/fd")
"""Whether a file without a name can be opened again, through /proc."""


@dataclass(frozen=True)
class Source:
    """One video: the name it was given, and how to open it.

    name: for messages and records; of an address, without its secrets. place: the path or address to open, never shown.
    rate: pictures per second of a folder. stream: the video stream to read, by its number in the file; None for the
    best. warnings: those of making the video available.
    """

    name: str
    place: str = field(repr=False)
    kind: Kind = "file"
    rate: float | None = None
    stream: int | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """The name for messages: one line."""
        return "standard input" if self.name == STDIN else shown(self.name)

    @property
    def is_pictures(self) -> bool:
        """Whether the video consists of pictures, which `vtcli.video.readers.images` reads."""
        return self.kind in ("folder", "animation")

    def sampling(self, frames: int | None, fps: float | None) -> tuple[int | None, float | None]:
        """Returns `frames` and `fps` as they choose frames; a folder's --fps is the rate of its pictures instead."""
        if self.kind != "folder":
            return frames, fps
        return (_FOLDER_FRAMES if frames is None else frames), None


Video = str | Path | Source  # what functions that open a video accept


def source_of(video: Video) -> Source:
    """Returns the source that `video` names, as far as it can be determined without copying anything.

    Raises VideoError for an unsupported kind of address.
    """
    if isinstance(video, Source):
        return video
    name = str(video)
    address = _ADDRESS.match(name)
    if address is None or isinstance(video, Path):
        return Source(name, name, _kind(name))
    scheme = address[1].lower()
    if is_address(name):
        from vtcli.video.remote import without_secrets

        return Source(without_secrets(name), name, "url")
    if scheme == "file":
        raise VideoError(f"{shown(name)}: give the file's path instead, without file://")
    raise VideoError(f"{scheme}:// addresses are not read: download the video, or give an http(s) address")


@contextmanager
def resolve(
    video: Video, fps: float | None = None, stream: int | None = None, limit: float | None = None
) -> Iterator[Source]:
    """Yields the source that `video` names; it can be opened any number of times until the context ends.

    `fps` is the value of --fps: the rate of a folder, ignored for any other source. Standard input, and a file whose
    server does not support range requests, are copied to a temporary file, the latter within `limit` seconds. The copy
    is always removed, except after SIGKILL on systems other than Linux. Raises VideoError for a source that cannot be
    obtained, UsageError for a terminal as standard input.
    """
    if str(video) == STDIN and not isinstance(video, Source):
        with _copied(_stdin(), "standard input") as place:
            yield Source(STDIN, place, _kind(place), stream=stream)
        return
    source = replace(source_of(video), stream=stream)
    if source.kind == "folder":
        yield replace(source, rate=fps)
    elif source.kind == "url":
        with _fetched(source, limit) as source:
            yield source
    else:
        yield source


def is_address(place: str) -> bool:
    """Whether `place` is an http(s) address."""
    return place[:8].lower().startswith(("http://", "https://"))


def _kind(path: str) -> Kind:
    if path and os.path.isdir(path):
        return "folder"
    if os.path.isfile(path):  # opening a pipe would block forever
        with suppress(OSError), open(path, "rb") as file:
            if _is_animation(file.read(_HEAD)):
                return "animation"
    return "file"


def _is_animation(head: bytes) -> bool:
    """Whether a file is a WebP whose header announces frames (RFC 9649, section 2.7)."""
    return len(head) == _HEAD and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


@contextmanager
def _fetched(source: Source, limit: float | None) -> Iterator[Source]:
    """Yields `source`, an address, itself if its server supports range requests, else a copy with a warning."""
    from vtcli.video.remote import forget, remote

    try:
        server = remote(source.place)
        if server.gives_parts:
            yield replace(source, kind="animation" if _is_animation(server.read(0, _HEAD)) else "url")
            return
        with _copied(_in_time(server.whole(), source.label, limit), source.label) as place:
            size = os.path.getsize(place)
            warning = f"the server gives no parts of the file: all {size / 1e6:.1f} MB of it were downloaded"
            yield replace(source, place=place, kind=_kind(place), warnings=(warning,))
    finally:
        forget(source.place)


def _in_time(chunks: Iterable[bytes], label: str, limit: float | None) -> Iterator[bytes]:
    """Yields `chunks`; raises VideoError after `limit` seconds, because a live stream has no end."""
    begin = monotonic()
    for chunk in chunks:
        if limit is not None and monotonic() - begin > limit:
            raise VideoError(f"{label} took longer than {limit:g} s to download; --read-timeout SECONDS allows more")
        yield chunk


def _stdin() -> Iterable[bytes]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("standard input is a terminal: pipe a video into it, or name a file instead of -")
    stream = cast("BufferedReader", sys.stdin.buffer)
    return iter(lambda: stream.read1(_CHUNK), b"")


@contextmanager
def _copied(chunks: Iterable[bytes], label: str) -> Iterator[str]:
    """Yields the path of a temporary file that holds `chunks`, removed at the end."""
    with terminable(), _spool() as (path, file):
        size = 0
        try:
            with file:
                for chunk in _obtained(chunks, label):
                    size += len(chunk)
                    if size > SPOOL_LIMIT:
                        raise VideoError(f"{label} is larger than {SPOOL_LIMIT / 1e9:.0f} GB: save it as a file first")
                    _check_room(label)
                    file.write(chunk)
        except OSError as error:
            raise _no_room(label, (error.strerror or str(error)).lower()) from None
        if size == 0:
            raise VideoError(f"{label} is empty")
        yield path


def _obtained(chunks: Iterable[bytes], label: str) -> Iterator[bytes]:
    """Yields `chunks`; raises VideoError where they cannot be read, so that OSError means a failure to write them."""
    try:
        yield from chunks
    except OSError as error:
        raise VideoError(f"{label} cannot be read: {(error.strerror or str(error)).lower()}") from None


@contextmanager
def _spool() -> Iterator[tuple[str, BinaryIO]]:
    """Yields the path of a temporary file, for this process and its children until the context ends, and the file.

    If the system supports it, the file has no name, so nothing of it remains however the process ends.
    """
    if _NAMELESS:
        with tempfile.TemporaryFile(prefix="vt-") as file:
            path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
            if os.access(path, os.R_OK | os.W_OK):
                with open(path, "wb") as again:
                    yield path, again
                return
    copy = _Copy()
    try:
        yield copy.path, copy.open()
    finally:
        copy.remove()


class _Copy:
    """A temporary file with a name, in a folder of its own, until it is removed. Any thread may remove it."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        with _copying:
            _check_not_ending()
            self._folder = tempfile.TemporaryDirectory(prefix="vt-", ignore_cleanup_errors=True)
            _copies.add(self)
        self.path = os.path.join(self._folder.name, "video")

    def open(self) -> BinaryIO:
        """Creates the file and returns it, open for writing."""
        with _copying:
            _check_not_ending()
            self._file = open(self.path, "wb")  # noqa: SIM115  # `remove` closes it
        return self._file

    def remove(self) -> None:
        """Removes the file, which is first closed: Windows does not remove open files."""
        if self._file is not None:
            with suppress(OSError, RuntimeError):  # a full disk; a signal that came while this thread was writing
                self._file.close()
        self._folder.cleanup()
        _copies.discard(self)


_copies: set[_Copy] = set()
_copying = threading.RLock()  # held while a copy is created; a signal handler may interrupt the thread that holds it
_ending = False


def may_leave_copy(video: Video) -> bool:
    """Whether a copy of `video` may remain where a thread reads it and the process ends without `remove_copies`."""
    return not _NAMELESS and (str(video) == STDIN or is_address(str(video)))


def remove_copies() -> None:
    """Removes all temporary copies, also those that other threads still write. From then on none can be made.

    For a process that ends: at exit Python calls it, but not before `os._exit`, and not when a signal ends the process.
    """
    global _ending
    with _copying:
        _ending = True
        copies = list(_copies)
    for copy in copies:
        copy.remove()


atexit.register(remove_copies)


def _check_not_ending() -> None:
    if _ending:
        raise VideoError("no video can be copied any more: the process is ending")


def _check_room(label: str) -> None:
    disk = shutil.disk_usage(tempfile.gettempdir())
    if disk.free < min(KEEP_FREE, disk.total // 10):
        raise _no_room(label, "its disk is nearly full")


def _no_room(label: str, why: str) -> VideoError:
    folder = shown(tempfile.gettempdir())
    return VideoError(f"{label} cannot be copied to {folder}: {why}; set TMPDIR to a folder with room for it")
