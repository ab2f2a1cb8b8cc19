"""Lets only one process at a time train in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtcli.errors import TrainError

_NAME = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Creates `folder` and holds its lock while the context lasts; removes the folder again if it is left empty.

    The system releases the lock when the process ends, however it ends. Raises TrainError if another process holds it.
    """
    from filelock import FileLock, Timeout

    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _NAME, timeout=0)
    try:
        with suppress(NotImplementedError):  # some network disks cannot lock
            lock.acquire()
    except Timeout as error:
        raise TrainError(
            f"another process is training in {folder}: wait until it ends, or give another --out"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            if [place.name for place in folder.iterdir()] == [_NAME]:
                (folder / _NAME).unlink()
                for place in made:
                    place.rmdir()
        lock.release()
