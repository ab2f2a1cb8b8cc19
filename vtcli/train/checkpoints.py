"""Checkpoints of a stage: written aside, renamed once complete, and never overwritten in place."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

ASIDE = ".saving"
MANIFEST = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def finish(aside: Path, place: Path) -> None:
    """Flushes the complete checkpoint in `aside` to the disk, then renames it to `place`."""
    sizes = {}
    for file in sorted(path for path in aside.rglob("*") if path.is_file()):
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
        sizes[file.relative_to(aside).as_posix()] = file.stat().st_size
    with (aside / MANIFEST).open("w", encoding="utf-8") as stream:
        json.dump(sizes, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    if place.exists():  # left by a run that was then resumed from an earlier step
        shutil.rmtree(place)
    aside.rename(place)
    _sync_folder(place.parent)


def step_of(checkpoint: Path) -> int:
    """Returns the step at which a checkpoint was made, from its name."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match
    return int(match[1])


def complete(folder: Path) -> list[Path]:
    """Lists the complete checkpoints in `folder` by step; ignores what a crash left aside."""
    if not folder.is_dir():
        return []
    found = [place for place in folder.iterdir() if _NAME.fullmatch(place.name) and is_whole(place)]
    return sorted(found, key=step_of)


def is_whole(place: Path) -> bool:
    """Whether every file of the manifest exists with the size it was written with."""
    try:
        sizes = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def rotate(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints."""
    for place in complete(folder)[:-keep]:
        shutil.rmtree(place, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
