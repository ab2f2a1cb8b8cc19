"""Finds a benchmark's videos in a folder, however they were unpacked. Never returns a path outside the folder."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from vtcli.errors import DataError
from vtcli.video.readers.images import SUFFIXES as PICTURES
from vtcli.video.text import shown

SUFFIXES = frozenset(
    {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".mpg", ".mpeg", ".ts", ".wmv", ".3gp", ".gif"}
)


class Videos:
    """The video files and the folders of pictures below a folder. Raises DataError if the folder does not exist."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"--videos {shown(folder)}: there is no such folder")
        self.folder = folder
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._pictures: dict[str, list[Path]] = defaultdict(list)
        seen: set[tuple[int, int]] = set()
        for place, folders, files in os.walk(folder, followlinks=True):
            folders[:] = [name for name in sorted(folders) if _is_new(Path(place, name), seen)]
            for name in sorted(files):
                path = Path(place, name)
                if path.suffix.lower() in SUFFIXES:
                    self._by_stem[path.stem].append(path)
            if any(name.lower().endswith(PICTURES) for name in files):
                self._pictures[Path(place).name].append(Path(place))

    def find(self, name: str) -> Path | None:
        """Returns the file that `name` in the annotations refers to; None without a match, or with an ambiguous one.

        The file name must match, with any suffix. Of several matches, the best is the one whose folders agree with
        those of `name` furthest, counted from the right, then the one with the same suffix. So the name
        "star/Charades_v1_480/ZS9XR.mp4" also finds "ZS9XR.mp4".
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        return self._best(self._by_stem.get(_stem(wanted), []) or self._by_stem.get(wanted.name, []), wanted)

    def pictures(self, name: str) -> Path | None:
        """Returns the folder of pictures that `name` refers to, by the rules of `find`."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        return self._best(self._pictures.get(_stem(wanted), []), wanted)

    def _best(self, candidates: list[Path], wanted: PurePosixPath) -> Path | None:
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        ranked = sorted(candidates, key=lambda path: self._agreement(path, wanted), reverse=True)
        first, second = (self._agreement(path, wanted) for path in ranked[:2])
        return ranked[0] if first > second else None

    def _agreement(self, path: Path, wanted: PurePosixPath) -> tuple[int, bool]:
        """Returns how many folders agree, counted from the right, and whether the suffix agrees."""
        ours = path.relative_to(self.folder).parts[:-1]
        same = 0
        for one, other in zip(reversed(ours), reversed(wanted.parts[:-1]), strict=False):
            if one != other:
                break
            same += 1
        return same, path.suffix.lower() == wanted.suffix.lower()


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is visited for the first time: links may form cycles."""
    try:
        found = folder.stat()
    except OSError:
        return False
    place = found.st_dev, found.st_ino
    if place in seen:
        return False
    seen.add(place)
    return True


def _stem(name: PurePosixPath) -> str:
    """Returns the file's name without a video suffix; a dot may be part of the name ("clip.1")."""
    return name.stem if name.suffix.lower() in SUFFIXES else name.name
