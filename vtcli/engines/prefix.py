"""Kept video prefixes: what a model has computed of a clip, on disk, for the next question about it.

A prompt begins with the system's text and the clip; what the model holds of these depends on the checkpoint, the frames
and how it is computed, and on nothing that is asked. A file that is broken, or of another time, is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vtcli.layout import Layout

_ENDING = ".prefix"
_HEADER = 16
"""Bytes before the content: a magic number, the content's CRC-32 and its length."""
_MAGIC = b"vtp1"
_STALE = 3600.0
"""Seconds after which a file that was being written is taken for given up."""


@dataclass(frozen=True)
class Prefix:
    """The first `tokens` of a prompt, up to the clip's last, after which positions go on at `next_position`.

    `key` says what was computed of them, and how.
    """

    tokens: int
    next_position: int
    key: str

    @staticmethod
    def of(layout: Layout, pixels: NDArray[np.uint8], video_token_id: int, computed: Mapping[str, str]) -> Prefix:
        """`computed`: everything else that decides the numbers: weights, engine, precision, versions."""
        tokens = int(np.flatnonzero(layout.input_ids == video_token_id)[-1]) + 1
        digest = hashlib.sha256(json.dumps({**computed, "shape": pixels.shape}, sort_keys=True).encode())
        for part in (layout.input_ids[:tokens], layout.positions[:, :tokens], pixels):
            digest.update(np.ascontiguousarray(part).data)
        return Prefix(tokens, int(layout.positions[:, :tokens].max()) + 1, digest.hexdigest())


class Holder(Protocol):
    """What has read a prompt and can be set back to a part of it."""

    def restart(self, prefix: Prefix | None = None) -> None:
        """Forgets all, or all but the prefix it has read."""

    def save(self, prefix: Prefix) -> list[NDArray[np.uint8]]:
        """What it holds of the prefix."""

    def load(self, prefix: Prefix, data: NDArray[np.uint8]) -> bool:
        """Takes what `save` gave; False where it does not fit."""


class Recall:
    """Which prefix a holder still has, and the store behind it; None keeps nothing between processes."""

    def __init__(self, store: PrefixStore | None) -> None:
        self._store = store
        self._held: tuple[Holder, Prefix] | None = None

    def find(self, prefix: Prefix, holder: Holder) -> bool:
        """Whether `holder` has read `prefix` now; if not, it has read nothing."""
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
        """To be called when `holder` has read `prefix` and more, and is done; a warning where it was not kept."""
        if self._held == (holder, prefix):
            return ()
        holder.restart(prefix)
        self._held = holder, prefix
        if self._store is None:
            return ()
        with contextlib.suppress(MemoryError):
            if self._store.put(prefix, holder.save(prefix)):
                return ()
        return (f"what was computed of the video is not kept: {self._store.folder} is full, small or not writable",)

    def forget(self) -> None:
        """The holder is gone, or in an unknown state."""
        self._held = None


class PrefixStore:
    """Prefixes as files in `folder`, at most `limit` bytes together; those not used for longest go first.

    Nothing here raises: a folder that is full or cannot be written keeps nothing.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def files(self) -> list[Path]:
        """What is kept, the longest unused first."""
        return [file for _, _, file in self._kept()]

    def usage(self) -> tuple[int, int]:
        """How many files there are, and their bytes together."""
        kept = self._kept()
        return len(kept), sum(size for _, size, _ in kept)

    def _kept(self) -> list[tuple[int, int, Path]]:
        """When last used, bytes and path of each file; another process may remove one at any moment."""
        found = []
        with contextlib.suppress(OSError):
            for file in self.folder.glob(f"*{_ENDING}"):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, file))
        return sorted(found)

    def get(self, prefix: Prefix) -> NDArray[np.uint8] | None:
        """What was put under that key, or None."""
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
        """Keeps `content` under the key; whether it is kept."""
        parts = list(content)
        size, check = 0, 0
        for part in parts:
            size, check = size + part.nbytes, zlib.crc32(part.data, check)
        if size + _HEADER > self.limit:
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
            return True
        except BaseException as error:
            if aside is not None:
                Path(aside.name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                return False
            raise

    def clear(self) -> tuple[int, int]:
        """Removes everything; how many files and bytes that were."""
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
        for file in self.folder.glob("*.part"):  # of a process that was killed
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
