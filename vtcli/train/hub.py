"""Fetches records of a data set on the hub into the Hugging Face cache, from one commit that a run keeps to.

Files are fetched and checked as models are (`vtcli.models.download`). Videos are not fetched: most are in archives.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vtcli.disk import write_whole
from vtcli.errors import DataError
from vtcli.models import hub, hub_cache
from vtcli.models.download import check_space, download, missing_bytes
from vtcli.settings import data_folder
from vtcli.train.records import SUFFIXES, Record

_FORM = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?(?::(?P<files>.+))?",
    re.ASCII,
)
_SHOWN = 4

Progress = Callable[[str, int, int], None]
"""Receives a data set's name, the bytes present, and the bytes in all."""


@dataclass(frozen=True)
class DataSet:
    """`OWNER/NAME[@REVISION][:FILES]`: files of a data set, by default its only file. FILES may be a pattern."""

    text: str
    repository: str
    revision: str | None
    files: str | None


@dataclass(frozen=True)
class Fetched:
    """Files of one commit in the cache, below `folder`."""

    source: DataSet
    commit: str
    folder: Path
    files: tuple[Path, ...]


def parse(text: str) -> DataSet | None:
    """Parses the name of a data set; None if `text` names a file, whether or not that exists."""
    match = _FORM.fullmatch(text)
    if match is None or Path(text).expanduser().exists():
        return None
    if match["files"] is None and Path(text).suffix in SUFFIXES:  # a file that is missing
        return None
    return DataSet(text, match["repository"], match["revision"], match["files"])


def fetch(source: DataSet, pinned: str | None, ask: bool, tell: Progress) -> Fetched:
    """Returns the files of `source`, from the commit `pinned` if given; fetches those that are not in the cache.

    A cached commit needs no network. Nor does any cached revision if the network must not be used (HF_HUB_OFFLINE) or
    `ask` is False. Raises DataError (no such files, or several to choose from), and ModelError and VtError as downloads
    do.
    """
    revision = pinned or source.revision
    is_fixed = bool(re.fullmatch("[0-9a-f]{40}", revision or ""))
    if (is_fixed or not ask or hub.is_offline()) and (kept := _kept(source, revision)):
        return kept
    listing = hub.list_files(source.repository, revision, "dataset", SUFFIXES)
    names = _chosen(source, listing.files)
    size = sum(listing.files[name].bytes for name in names)
    check_space(missing_bytes(listing, names), hub_cache.cache_folder(), source.text)
    have, one_by_one = 0, threading.Lock()

    def gained(count: int) -> None:
        nonlocal have
        with one_by_one:
            have += count
            tell(source.repository, have, size)

    folder = download(listing, names, revision, gained)
    _note_names(folder, listing.files)
    return Fetched(source, listing.commit, folder, tuple(folder / name for name in names))


def check_videos(fetched: Iterable[Fetched], records: Iterable[Record]) -> None:
    """Raises DataError if videos would have to be beside their records in the cache, and are not."""
    folders = {each.folder: each.source for each in fetched}
    for record in records if folders else ():
        for video in record.shown:
            source = next((source for folder, source in folders.items() if folder in video.parents), None)
            if source is not None and not video.is_file():
                to = f"--root {record.source}=DIR" if record.source else "--root DIR"
                raise DataError(
                    f"the videos of {source.repository} are not fetched with its records: get them (hf download "
                    f"{source.repository} --repo-type dataset --local-dir DIR), unpack what is packed, and give {to}"
                )


def _kept(source: DataSet, revision: str | None) -> Fetched | None:
    """Looks up a revision in the cache, by default the last one seen; None unless all files of `source` are there."""
    folder = hub_cache.snapshot(hub_cache.repository_folder(source.repository, "dataset"), revision)
    if folder is None:
        return None
    try:
        listed = json.loads(_names_file(folder).read_text(encoding="utf-8"))
        files = tuple(folder / name for name in _chosen(source, [name for name in listed if hub.stays_inside(name)]))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return Fetched(source, folder.name, folder, files) if all(file.is_file() for file in files) else None


def _note_names(folder: Path, names: Iterable[str]) -> None:
    """Records the files of a commit, because the cache alone does not tell whether it holds all of them."""
    file = _names_file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(sorted(names)))


def _names_file(folder: Path) -> Path:
    return data_folder() / "listed" / folder.parents[1].name / f"{folder.name}.json"


def _chosen(source: DataSet, names: Iterable[str]) -> list[str]:
    """Selects from `names` the files that `source` means. Raises DataError."""
    there = sorted(names)
    if source.files is None:
        if len(there) == 1:
            return there
        listed = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
        if there:
            raise DataError(f"{source.text} holds {listed}: name those to train on, {source.text}:{there[0]}")
        raise DataError(f"{source.text} holds no {', '.join(SUFFIXES)} files")
    if source.files in there:
        return [source.files]
    found = [name for name in there if fnmatchcase(name, source.files)]
    if not found:
        raise DataError(f"{source.repository} holds no {source.files}; it has {', '.join(there[:_SHOWN]) or 'no data'}")
    return found
