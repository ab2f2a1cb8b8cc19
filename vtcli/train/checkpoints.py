"""Checkpoints of a stage: written aside, complete when they get their name, and never written over."""

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
    """Gives a checkpoint that lies complete in `aside` its name, once all of it is on the disk."""
    sizes = {}
    for file in sorted(path for path in aside.rglob("*") if path.is_file()):
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
        sizes[file.relative_to(aside).as_posix()] = file.stat().st_size
    with (aside / MANIFEST).open("w", encoding="utf-8") as stream:
        json.dump(sizes, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    if place.exists():  # of a run that was resumed from before it
        shutil.rmtree(place)
    aside.rename(place)
    _sync_folder(place.parent)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was made at, from its name."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match
    return int(match[1])


def complete(folder: Path) -> list[Path]:
    """The checkpoints in `folder` that are whole, by step; what a crash left aside is none."""
    if not folder.is_dir():
        return []
    found = [place for place in folder.iterdir() if _NAME.fullmatch(place.name) and is_whole(place)]
    return sorted(found, key=step_of)


def is_whole(place: Path) -> bool:
    """Whether every file that was written is there, as long as it was."""
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
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
