"""Hash downloaded files as Git and Git LFS do, and remember which files have the right hash."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from vtcli.models.hub import RemoteFile
from vtcli.settings import data_folder

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 2**20


def hash_of(file: RemoteFile) -> _Hash:
    """Returns an empty hash object of the kind that names this file's content."""
    if len(file.blob) == 64:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.bytes}\0".encode(), usedforsecurity=False)


def hash_file(path: Path, file: RemoteFile) -> str:
    """Returns the hash of the file at `path`, of the kind that `file` has."""
    digest = hash_of(file)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Checked:
    """The cached files of one repository that were verified and not modified since; stored between runs."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._record = data_folder() / "checked" / f"{self._root.name}.json"
        self._lock = threading.Lock()
        try:
            found = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        self._known: dict[str, list[int]] = found if isinstance(found, dict) else {}

    def __contains__(self, path: Path) -> bool:
        return self._known.get(self._key(path)) == self._stamp(path)

    def add(self, path: Path) -> None:
        with self._lock:
            self._known[self._key(path)] = self._stamp(path)
            self._record.parent.mkdir(parents=True, exist_ok=True)
            part = self._record.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(self._known), encoding="utf-8")
            os.replace(part, self._record)

    def _key(self, path: Path) -> str:
        return os.path.relpath(path.resolve(), self._root.resolve())

    def _stamp(self, path: Path) -> list[int]:
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns]
