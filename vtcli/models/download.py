"""Download files of one commit into the Hugging Face cache: resumable after any interruption, verified before use.

huggingface_hub restarts an interrupted file (2.x keeps nothing of it) and compares only sizes. vt therefore downloads
the bytes with huggingface_hub's session into a persistent partial file and hashes them as they arrive. If the hash is
right, the file becomes a blob of the cache, to which the snapshot links.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vtcli.disk import free_bytes
from vtcli.errors import ModelError, VtError
from vtcli.models import hub_cache
from vtcli.models.checked import Checked, hash_file, hash_of
from vtcli.models.hub import Listing, RemoteFile, explained, retried, session
from vtcli.models.hub_cache import file_size

Progress = Callable[[int], None]
"""Receives the number of new bytes; negative if some must be downloaded again."""

WORKERS = 4
_BLOCK = 2**20


def download(listing: Listing, names: Iterable[str], revision: str | None, tell: Progress) -> Path:
    """Downloads missing and damaged files among `names`; returns the snapshot's folder with all of them complete.

    `revision` is the branch or tag for which `listing` was requested, None for the default. Two processes may download
    the same files at once: only one of them fetches each file. Raises ModelError or VtError, one line; downloaded bytes
    are kept for the next attempt.
    """
    from huggingface_hub.utils.logging import set_verbosity_error
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    set_verbosity_error()  # type: ignore[no-untyped-call]  # its warnings end up in vt's one-line errors
    largest_first = sorted((listing.files[name] for name in names), key=lambda file: -file.bytes)
    stop, checked = threading.Event(), Checked(storage_of(listing))
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="vt-download")
    try:
        for done in [pool.submit(_File(listing, file, checked, tell, stop).get) for file in largest_first]:
            done.result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
    hub_cache.point(storage_of(listing), revision or "main", listing.commit)
    return _snapshot(listing)


def missing_bytes(listing: Listing, names: Iterable[str]) -> int:
    """Returns the bytes of these files that are still to be downloaded, judged by size alone."""
    wanted = [listing.files[name] for name in names]
    return sum(file.bytes - _have(listing, file) for file in wanted)


def check_space(need: int, folder: Path, what: str) -> None:
    """Raises VtError unless `need` bytes are free on the disk that holds, or will hold, `folder`."""
    free = free_bytes(folder)
    if need > free:
        raise VtError(f"{what} takes {need / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free there")


class _StoppedError(VtError):
    """The download was stopped because another file failed or the user interrupted it."""


class _File:
    """The download of one file."""

    def __init__(
        self, listing: Listing, file: RemoteFile, checked: Checked, tell: Progress, stop: threading.Event
    ) -> None:
        self._listing, self._file, self._checked, self._tell, self._stop = listing, file, checked, tell, stop
        storage = storage_of(listing)
        self._link = _snapshot(listing) / file.name
        self._blob = storage / "blobs" / file.blob
        self._part = self._blob.with_name(file.blob + hub_cache.PARTIAL)
        self._lock = storage.parent / ".locks" / storage.name / f"{file.blob}.lock"  # huggingface_hub's own

    def get(self) -> None:
        from huggingface_hub.utils._fixes import WeakFileLock

        with explained(self._listing.repository, kind=self._listing.kind):
            if self._matches(self._link):  # a copy that is not finished does not, and may belong to another process
                self._tell(self._file.bytes)
                return
            for folder in (self._blob.parent, self._link.parent, self._lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(self._lock):  # another process may be downloading or copying it
                if self._is_right(self._link):
                    self._tell(self._file.bytes)
                    return
                if self._is_right(self._blob):
                    self._tell(self._file.bytes)
                else:
                    self._fetch()
                    self._checked.add(self._blob)
                self._make_link()

    def _is_right(self, path: Path) -> bool:
        """Whether the file exists with the hub's size and hash; a file that differs is deleted. Needs the lock."""
        if self._matches(path):
            return True
        path.unlink(missing_ok=True)
        return False

    def _matches(self, path: Path) -> bool:
        """Whether the file exists with the hub's size and hash."""
        real = path.resolve()
        if file_size(real) != self._file.bytes or not real.exists():
            return False
        if real not in self._checked:
            if hash_file(real, self._file) != self._file.blob:
                return False
            self._checked.add(real)
        return True

    def _fetch(self) -> None:
        self._tell(file_size(self._part))
        for is_last in (False, True):
            if self._complete() == self._file.blob:
                os.replace(self._part, self._blob)
                return
            self._part.unlink()
            self._tell(-self._file.bytes)
            if is_last:
                raise ModelError(
                    f"{self._file.name} of {self._listing.repository} arrives damaged (its hash is not the one that "
                    "is listed): not kept, try again later"
                )

    def _complete(self) -> str:
        """Downloads the rest of the partial file; returns the hash of the complete file."""
        return retried(self._go_on, lambda: file_size(self._part), self._stop)

    def _go_on(self) -> str:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import hf_raise_for_status

        if (have := file_size(self._part)) > self._file.bytes:
            self._part.unlink()
            self._tell(-have)
            have = 0
        digest = hash_of(self._file)
        with self._part.open("a+b") as stream:
            stream.seek(0)
            while block := stream.read(_BLOCK):
                digest.update(block)
            if have == self._file.bytes:
                return digest.hexdigest()
            listing = self._listing
            url = hf_hub_url(listing.repository, self._file.name, repo_type=listing.kind, revision=listing.commit)
            headers = build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
            limit = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with session().stream("GET", url, headers=headers, timeout=limit, follow_redirects=True) as response:
                hf_raise_for_status(response)
                if have and response.status_code != 206:  # the server sends the whole file
                    stream.truncate(0)
                    digest = hash_of(self._file)
                    self._tell(-have)
                for block in response.iter_bytes():  # no chunk size: buffered bytes would be lost in an interruption
                    if self._stop.is_set():
                        raise _StoppedError("stopped")
                    stream.write(block)
                    digest.update(block)
                    self._tell(len(block))
        if file_size(self._part) < self._file.bytes:
            raise OSError(f"{self._file.name} was cut short")
        return digest.hexdigest()

    def _make_link(self) -> None:
        """Links the snapshot's file to the blob, or moves the blob there if links are impossible. Needs the lock."""
        from huggingface_hub.file_download import _create_symlink, are_symlinks_supported

        movable = are_symlinks_supported(storage_of(self._listing)) or not self._is_linked()
        _create_symlink(str(self._blob), str(self._link), new_blob=movable)  # else copies it
        self._checked.add(self._link)

    def _is_linked(self) -> bool:
        """Whether the blob is a link to a shared store, or a file of another snapshot is a link to the blob."""
        others = (file for file in hub_cache.files(storage_of(self._listing)) if file.is_symlink())
        return self._blob.is_symlink() or any(file.resolve() == self._blob.resolve() for file in others)


def storage_of(listing: Listing) -> Path:
    """Returns the repository's folder in the cache."""
    return hub_cache.repository_folder(listing.repository, listing.kind)


def _snapshot(listing: Listing) -> Path:
    return storage_of(listing) / "snapshots" / listing.commit


def _have(listing: Listing, file: RemoteFile) -> int:
    blobs = storage_of(listing) / "blobs"
    for path in (_snapshot(listing) / file.name, blobs / file.blob):
        if file_size(path) == file.bytes:
            return file.bytes
    part = file_size(blobs / (file.blob + hub_cache.PARTIAL))
    return part if part <= file.bytes else 0  # a longer one starts anew
