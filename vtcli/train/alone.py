"""One process trains in a run's folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vtcli.errors import TrainError

_NAME = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Makes `folder` and holds it for as long as the context lasts; left empty, it is removed again.

    The system ends the hold with the process, however that ends. Raises TrainError where another process has it.
    """
    from filelock import FileLock, Timeout

    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _NAME, timeout=0)
    try:
        with suppress(NotImplementedError):  # some network disks
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
