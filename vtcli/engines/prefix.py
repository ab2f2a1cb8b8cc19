"""Kept video prefixes: the KV cache of a clip, stored on disk for the next question about it.

A prompt begins with the system text and the clip. The model's state after these depends on the checkpoint, the frames
and the way of computing, but not on the question. A broken or outdated file counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vtcli.layout import Layout

_ENDING = ".prefix"
_HEADER = 16
"""Size in bytes of the header: a magic number, the content's CRC-32 and its length."""
_MAGIC = b"vtp1"
_STALE = 3600.0
"""Seconds after which an unfinished file counts as abandoned."""


@dataclass(frozen=True)
class Prefix:
    """The first `tokens` of a prompt, up to the clip's last token; positions continue at `next_position`.

    `key` identifies the content of the prefix and how it was computed.
    """

    tokens: int
    next_position: int
    key: str

    @staticmethod
    def of(layout: Layout, pixels: NDArray[np.uint8], video_token_id: int, computed: Mapping[str, str]) -> Prefix:
        """Builds the prefix of a request; `computed` adds what else affects it: weights, engine, dtype, versions."""
        tokens = int(np.flatnonzero(layout.input_ids == video_token_id)[-1]) + 1
        digest = hashlib.sha256(json.dumps({**computed, "shape": pixels.shape}, sort_keys=True).encode())
        for part in (layout.input_ids[:tokens], layout.positions[:, :tokens], pixels):
            digest.update(np.ascontiguousarray(part).data)
        return Prefix(tokens, int(layout.positions[:, :tokens].max()) + 1, digest.hexdigest())


class Holder(Protocol):
    """A reader of a prompt that can be reset to a part of it."""

    def restart(self, prefix: Prefix | None = None) -> None:
        """Forgets everything, or everything after the prefix it has read."""

    def save(self, prefix: Prefix) -> list[NDArray[np.uint8]]:
        """Returns the state of the prefix."""

    def load(self, prefix: Prefix, data: NDArray[np.uint8]) -> bool:
        """Restores the data of `save`; returns False if it does not fit."""


H = TypeVar("H", bound=Holder)


class Recall:
    """Tracks which prefix a holder has in memory, backed by a store; None keeps nothing between processes."""

    def __init__(self, store: PrefixStore | None) -> None:
        self._store = store
        self._held: tuple[Holder, Prefix] | None = None

    def find(self, prefix: Prefix, holder: Holder) -> bool:
        """Resets `holder` to `prefix` if it is kept; returns whether it is. Otherwise `holder` is empty afterwards."""
        if self._held == (holder, prefix):
            holder.restart(prefix)
            return True
        holder.restart()
        self._held = None
        data = self._store.get(prefix) if self._store else None
        if data is None or not holder.load(prefix, data):
            holder.restart()
            return False
        self._held = holder, prefix
        return True

    def keep(self, prefix: Prefix, holder: Holder) -> tuple[str, ...]:
        """Keeps `prefix` after `holder` has read it and more and is done; returns a warning if it was not stored."""
        if self._held == (holder, prefix):
            return ()
        holder.restart(prefix)
        self._held = holder, prefix
        if self._store is None:
            return ()
        with contextlib.suppress(MemoryError, RuntimeError):  # torch's allocators raise the latter
            if self._store.put(prefix, holder.save(prefix)):
                return ()
        return (f"what was computed of the video is not kept: {self._store.folder} is full, small or not writable",)

    def hand_over(self, make: Callable[[], H]) -> H:
        """Returns the new holder that `make` makes, with the held prefix moved into it.

        The old holder's memory is free before `make` is called if nobody else refers to it.
        """
        data, prefix = None, None
        if self._held is not None:
            prefix = self._held[1]
            self._held[0].restart(prefix)
            with contextlib.suppress(MemoryError, RuntimeError):
                data = np.concatenate(self._held[0].save(prefix))
            self._held = None
        new = make()
        if data is not None and prefix is not None and new.load(prefix, data):
            self._held = new, prefix
        return new

    def forget(self) -> None:
        """Drops the held prefix, because the holder is gone or in an unknown state."""
        self._held = None


class PrefixStore:
    """Prefixes as files in `folder`, at most `limit` bytes in total; the least recently used are deleted first.

    A folder that is full or not writable keeps nothing and raises no error.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def files(self) -> list[Path]:
        """Returns the kept files, least recently used first."""
        return [file for _, _, file in self._kept()]

    def usage(self) -> tuple[int, int]:
        """Returns the number of files and their total bytes."""
        kept = self._kept()
        return len(kept), sum(size for _, size, _ in kept)

    def _kept(self) -> list[tuple[int, int, Path]]:
        """Returns time of last use, bytes and path of each file; another process may remove files at any moment."""
        found = []
        with contextlib.suppress(OSError):
            for file in self.folder.glob(f"*{_ENDING}"):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, file))
        return sorted(found)

    def get(self, prefix: Prefix) -> NDArray[np.uint8] | None:
        """Returns the content stored under the prefix's key, or None."""
        file = self._file(prefix)
        try:
            data = np.memmap(file, np.uint8, "r")
            content = data[_HEADER:]
            head = bytes(data[:_HEADER])
            if head != _header(content.nbytes, zlib.crc32(content.data)):
                raise ValueError
            os.utime(file)
            return content
        except (OSError, ValueError):
            return None

    def put(self, prefix: Prefix, content: Iterable[NDArray[np.uint8]]) -> bool:
        """Stores `content` under the prefix's key; returns whether it is stored."""
        parts = list(content)
        size, check = 0, 0
        for part in parts:
            size, check = size + part.nbytes, zlib.crc32(part.data, check)
        if size + _HEADER > self.limit:
            self._make_room(0)  # the limit may be a new, lower one
            return False
        aside = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size + _HEADER)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as aside:
                aside.write(_header(size, check))
                for part in parts:
                    aside.write(part.data)
            os.replace(aside.name, self._file(prefix))
            self._make_room(0)  # other processes may have stored something meanwhile
            return True
        except BaseException as error:
            if aside is not None:
                Path(aside.name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                return False
            raise

    def clear(self) -> tuple[int, int]:
        """Removes everything; returns the number of files and bytes removed."""
        count = freed = 0
        for file in [*self.files(), *self.folder.glob("*.part")]:
            with contextlib.suppress(OSError):
                size = file.stat().st_size
                file.unlink()
                count, freed = count + 1, freed + size
        return count, freed

    def _file(self, prefix: Prefix) -> Path:
        return self.folder / f"{prefix.key}{_ENDING}"

    def _make_room(self, size: int) -> None:
        for file in self.folder.glob("*.part"):  # left by a killed process
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > _STALE:
                    file.unlink()
        kept = self._kept()
        total = sum(each for _, each, _ in kept)
        for _, each, file in kept:
            if total + size <= self.limit:
                return
            total -= each
            file.unlink(missing_ok=True)


def _header(size: int, check: int) -> bytes:
    return _MAGIC + check.to_bytes(4, "little") + size.to_bytes(8, "little")
