"""Finds the videos that SOURCE arguments name, each once, in a reproducible order.

A source is a video, an http(s) address, a folder (searched recursively, by file suffix), a glob pattern, `@FILE` for a
list of names, or `-` for a list on standard input. A list holds one name per line, or names separated by NULs, as
`find -print0` writes them.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vtcli.errors import UsageError, first_line
from vtcli.video.source import STDIN, is_address
from vtcli.video.text import shown

SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
        *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    )
)
_LIST_STDIN = (STDIN, f"@{STDIN}")


@dataclass(frozen=True)
class Found:
    """The videos found, named as given, and warnings about the search.

    `unread` counts the folders that could not be listed: some videos may be missing.
    """

    videos: tuple[str, ...]
    warnings: tuple[str, ...]
    unread: int


def find_videos(sources: Iterable[str]) -> Found:
    """Returns the videos that `sources` name.

    Raises UsageError for a list or pattern that gives nothing, or where no source gives a video.
    """
    search = _Search()
    names: dict[str, str] = {}
    again = 0
    for name in search.expand(sources):
        key = name if is_address(name) else os.path.abspath(name)
        again += key in names
        names.setdefault(key, name)
    if not names:
        raise UsageError(f"there is no video to ask about{''.join(f': {each}' for each in search.warnings[:1])}")
    if again:
        search.warnings.append(f"videos that are named more than once, and asked about once: {again}")
    return Found(tuple(names.values()), tuple(search.warnings), search.unread)


class _Search:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.unread = 0

    def expand(self, sources: Iterable[str]) -> Iterator[str]:
        for source in sources:
            if source in _LIST_STDIN or source.startswith("@"):
                for name in _listed(source):
                    # In a list, "-" is a file of that name, not standard input.
                    yield from self._named(os.path.join(os.curdir, name) if name == STDIN else name)
            elif glob.has_magic(source) and not (is_address(source) or os.path.lexists(source)):
                for name in _matching(source):
                    yield from self._named(name)
            else:
                yield from self._named(source)

    def _named(self, name: str) -> Iterator[str]:
        if os.path.isdir(name) and not is_address(name):
            yield from self._folder(name)
        else:
            yield name  # even if no such file exists: its output line will say so

    def _folder(self, folder: str) -> Iterator[str]:
        """Yields the videos in `folder` and below. Links to folders are not followed: they may form cycles."""
        count = 0
        for place, folders, files in os.walk(folder, onerror=self._unreadable):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for file in sorted(files):
                path = os.path.join(place, file)
                if not file.startswith(".") and _is_video(path):
                    count += 1
                    yield path
        if not count:
            self.warnings.append(f"{shown(folder)} holds no video")

    def _unreadable(self, error: OSError) -> None:
        self.unread += 1
        self.warnings.append(f"{shown(str(error.filename))} cannot be looked into: {error.strerror or error}")


def _is_video(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    if suffix != ".ts":
        return suffix in SUFFIXES
    try:  # TypeScript files have this suffix too
        with open(path, "rb") as file:
            return file.read(1) == b"G"  # an MPEG transport stream's sync byte
    except OSError:
        return True


def _matching(pattern: str) -> list[str]:
    """Returns the paths that match the pattern, sorted; ** does not follow links to folders: they may form cycles."""
    path = Path(pattern)
    try:
        found = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (ValueError, OSError) as error:
        raise UsageError(f"{shown(pattern)}: this pattern cannot be read ({first_line(error)})") from error
    asked_for = set(path.parts)
    names = sorted(str(each) for each in found if all(p in asked_for or p[0] != "." for p in each.parts))
    if not names:
        raise UsageError(f"{shown(pattern)}: nothing has such a name")
    return names


def _listed(source: str) -> list[str]:
    """Returns the names in a list; they are relative to the current folder, as everywhere on a command line."""
    try:
        if source in _LIST_STDIN:
            if sys.stdin.isatty():
                raise UsageError(
                    f"{source} is a list of videos on standard input, which is a terminal: pipe one into it"
                )
            data = sys.stdin.buffer.read()
        else:
            data = Path(source[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"{shown(source)} cannot be read: {error.strerror or error}") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise UsageError(f"{shown(source)} names no video")
    return names
