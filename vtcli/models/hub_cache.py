"""The Hugging Face cache on disk: its repositories and snapshots, and the removal of files.

Layout (huggingface_hub's, documented in its guide "Understand caching"): `models--OWNER--REPO/{blobs,refs,snapshots}`,
`datasets--…` for data sets. A snapshot's files are links to blobs, or the files themselves if links are impossible.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".vt.incomplete"
"""Suffix of a blob that vt is still downloading; huggingface_hub's own end in ".incomplete" without the ".vt"."""


def cache_folder() -> Path:
    """Returns HF_HUB_CACHE, or `hub` in HF_HOME, or the library's default."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repository_folder(repository: str, kind: str = "model") -> Path:
    """Returns the cache folder of `OWNER/REPO`, a "model" or a "dataset", whether or not it exists."""
    return cache_folder() / f"{kind}s--{repository.replace('/', '--')}"


def repositories() -> Iterator[tuple[str, Path]]:
    """Yields name and folder of every model repository in the cache."""
    with contextlib.suppress(OSError):  # no cache yet
        for found in sorted(cache_folder().glob("models--*--*")):
            yield found.name.removeprefix("models--").replace("--", "/", 1), found


def snapshot(folder: Path, revision: str | None = None) -> Path | None:
    """Returns the snapshot of `revision` (branch, tag or commit) in a repository's folder.

    Without a revision, returns the snapshot of main or otherwise the newest. None if the snapshot does not exist.
    """
    snapshots = folder / "snapshots"
    if revision is not None:
        found = snapshots / commit_of(folder, revision)
        return found if found.is_dir() else None
    if (main := snapshot(folder, "main")) is not None:
        return main
    try:
        return max((one for one in snapshots.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    except (OSError, ValueError):
        return None


def commit_of(folder: Path, revision: str) -> str:
    """Returns the commit at which a branch or tag was last seen; any other `revision` is returned unchanged."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / "refs" / revision).read_text().strip() or revision
    return revision


def point(folder: Path, revision: str, commit: str) -> None:
    """Records the commit at which a branch or tag was last seen."""
    if revision != commit and ".." not in revision:
        ref = folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)


def partials(folder: Path) -> list[Path]:
    """Returns vt's unfinished downloads in a repository's folder; other programs use other names."""
    return list((folder / "blobs").glob(f"*{PARTIAL}"))


def files(folder: Path) -> list[Path]:
    """Returns every file of every snapshot in a repository's folder."""
    return [Path(place, name) for place, _folders, names in os.walk(folder / "snapshots") for name in names]


def remove(folder: Path, unwanted: list[Path]) -> int:
    """Removes snapshot files from a repository's folder, with blobs that no other file links to; returns bytes freed.

    The target of a link that leaves the folder stays. A repository without any remaining file is removed completely.
    Raises OSError for disk errors.
    """
    freed, blobs = 0, folder / "blobs"
    for file in unwanted:
        blob = _blob(file)
        size = 0 if blob.is_symlink() else file_size(blob)  # a link: its content is in a shared store
        file.unlink()
        _remove_empty(file.parent, folder / "snapshots")
        if blob == file:
            freed += size
        elif blob.parent.resolve() == blobs.resolve() and not any(_blob(other) == blob for other in files(folder)):
            blob.unlink(missing_ok=True)
            freed += size
    if not files(folder):
        freed += sum(file_size(file) for file in blobs.glob("*") if not file.is_symlink())
        shutil.rmtree(folder)
        shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
    return freed


def _remove_empty(place: Path, root: Path) -> None:
    """Removes a folder below `root` if it is empty, and then its parents: an empty snapshot is no snapshot."""
    while place != root and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def _blob(file: Path) -> Path:
    """Returns the target of a snapshot's file, or the file itself if it is not a link."""
    return Path(os.path.normpath(file.parent / os.readlink(file))) if file.is_symlink() else file


def file_size(file: Path) -> int:
    """Returns the bytes of a file, 0 if it does not exist."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
