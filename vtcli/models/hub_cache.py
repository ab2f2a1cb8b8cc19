"""The Hugging Face cache on disk: repositories, their snapshots, and how to take files out of it.

Layout (huggingface_hub's, documented in its guide "Understand caching"): `models--OWNER--REPO/{blobs,refs,snapshots}`,
`datasets--…` for data sets; a snapshot's files are links to blobs, or the files themselves where links cannot be made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".incomplete"
"""Ending of a blob that is still being fetched."""


def cache_folder() -> Path:
    """HF_HUB_CACHE, or `hub` in HF_HOME, or the library's default."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repository_folder(repository: str, kind: str = "model") -> Path:
    """Where the cache keeps `OWNER/REPO`, a "model" or a "dataset", whether or not it is there."""
    return cache_folder() / f"{kind}s--{repository.replace('/', '--')}"


def repositories() -> Iterator[tuple[str, Path]]:
    """Name and folder of every model repository there is something of."""
    with contextlib.suppress(OSError):  # no cache yet
        for found in sorted(cache_folder().glob("models--*--*")):
            yield found.name.removeprefix("models--").replace("--", "/", 1), found


def snapshot(folder: Path, revision: str | None = None) -> Path | None:
    """The snapshot of `revision` (a branch, tag or commit) in a repository's folder, by default the newest one."""
    snapshots = folder / "snapshots"
    if revision is not None:
        with contextlib.suppress(OSError):
            revision = (folder / "refs" / revision).read_text().strip()
        return snapshots / revision if (snapshots / revision).is_dir() else None
    if (main := snapshot(folder, "main")) is not None:
        return main
    try:
        return max((one for one in snapshots.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    except (OSError, ValueError):
        return None


def point(folder: Path, revision: str, commit: str) -> None:
    """Notes which commit a branch or tag was last seen at."""
    if revision != commit and ".." not in revision:
        ref = folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)


def partial_bytes(folder: Path) -> int:
    """What downloads that did not end have left in a repository's folder."""
    return sum(file_size(file) for file in (folder / "blobs").glob(f"*{PARTIAL}"))


def files(folder: Path) -> list[Path]:
    """Every file of every snapshot in a repository's folder."""
    return [Path(place, name) for place, _folders, names in os.walk(folder / "snapshots") for name in names]


def remove(folder: Path, unwanted: list[Path]) -> int:
    """Takes snapshot files out of a repository's folder, with blobs that nothing else names; returns bytes freed.

    What is left of a repository without any file goes too. Raises OSError where the disk refuses.
    """
    freed = 0
    for file in unwanted:
        blob = _blob(file)
        size = 0 if blob.is_symlink() else file_size(blob)  # a link: its content lies in a store that others share
        file.unlink()
        if blob == file:
            freed += size
        elif not any(_blob(other) == blob for other in files(folder)):
            blob.unlink(missing_ok=True)
            freed += size
    if not files(folder):
        freed += partial_bytes(folder)
        shutil.rmtree(folder)
        shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
    return freed


def _blob(file: Path) -> Path:
    """What a snapshot's file is a link to; the file itself where it is none."""
    return Path(os.path.normpath(file.parent / os.readlink(file))) if file.is_symlink() else file


def file_size(file: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
