"""Free space on the disk of a folder, existing or not yet created, and atomic file writes."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from vtcli.errors import VtError
from vtcli.video.text import shown


def free_bytes(folder: Path) -> int:
    """Returns the free bytes on the disk of `folder`."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """Returns the folder, or its nearest ancestor that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def write_whole(path: Path, text: str) -> None:
    """Writes a file atomically: it appears complete or not at all. Raises VtError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(aside, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise VtError(f"{shown(path)} cannot be written: {error.strerror or error}") from error
