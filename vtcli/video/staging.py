"""A hidden folder in which files are written before they are moved into the folder around it.

The process that writes holds a lock on a file in the hidden folder, and the system releases the lock when the process
ends, however it ends. A hidden folder whose lock is free was therefore left by a killed process and can be removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtcli.signals import uninterrupted

_NAME = re.compile(r"\.vt-[0-9a-f]{8}")
_LOCK = ".lock"
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yields a new folder in `folder`, on the same disk so that files can be moved; removes it at the end."""
    while True:
        place = folder / f".vt-{secrets.token_hex(4)}"
        if os.path.lexists(place):
            continue
        try:
            place.mkdir()
            with _locked(place / _LOCK):
                if (place / _LOCK).exists():  # otherwise `remove_stale` took it before it was locked
                    yield place
                    return
        finally:
            with uninterrupted():
                shutil.rmtree(place, ignore_errors=True)


def remove_stale(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Removes the folders in `folder` that killed processes left.

    A folder stays if it holds anything but files whose names `is_ours` accepts, if its process may still be running, or
    if it cannot be removed.
    """
    for place in folder.iterdir():
        if _NAME.fullmatch(place.name):
            with suppress(OSError):
                _remove_if_stale(place, is_ours)


def _remove_if_stale(place: Path, is_ours: Callable[[str], bool]) -> None:
    """Raises OSError where `place` has no lock file, where its lock is held, and where it cannot be removed."""
    if not stat.S_ISDIR(place.lstat().st_mode):
        return
    lock = place / _LOCK
    file = os.open(lock, _FLAGS)
    try:
        _lock(file, wait=False)
        with os.scandir(place) as entries:
            found = [entry for entry in entries if entry.name != _LOCK]
        if not all(is_ours(entry.name) and entry.is_file(follow_symlinks=False) for entry in found):
            return
        for entry in found:
            os.unlink(entry)
        if sys.platform != "win32":  # an open file cannot be removed there
            lock.unlink()
    finally:
        os.close(file)
    lock.unlink(missing_ok=True)
    place.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Creates the file `path` and holds its lock, where the file system supports locks."""
    file = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with suppress(OSError):
            _lock(file, wait=True)
        yield
    finally:
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, wait: bool) -> None:
        msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int, wait: bool) -> None:
        """Locks the file. Raises OSError where locks are not supported or, unless `wait`, another process holds it."""
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
