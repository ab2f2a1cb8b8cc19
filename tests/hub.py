"""A hub-compatible server on loopback: the API and file routes that huggingface_hub uses, with faults on demand.

Written after the routes of huggingface_hub 1.0 to 2.4 (hf_api.model_info and dataset_info,
file_download.get_hf_file_metadata). A data set's name begins with "datasets/" here, as it does in its files' addresses.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 10_000  # bytes; larger files are in Git LFS, as the hub has those above 10 MB


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request: a `status` instead of an answer, or a body that goes wrong `after` bytes.

    `body` is "drop" (the connection ends), "stall" (nothing more for `seconds`), "slow" (a pause at every block) or
    "wrong" (other bytes from there on). `code` is the hub's X-Error-Code, `answer` a page instead of its answer.
    """

    status: int = 0
    code: str = ""
    answer: str = ""
    body: str = ""
    after: int = 0
    seconds: float = 0.0


@dataclass
class Repository:
    """Files of one repository by name; `token` is needed to see it, `gated` says that its terms were not accepted."""

    files: dict[str, Path] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False
    listed: dict[str, str] = field(default_factory=dict)
    """Names to list beside or instead of those in `files`: name → a name in `files` or ""."""

    @property
    def commit(self) -> str:
        facts = sorted((name, path.stat().st_size) for name, path in self.files.items())
        return hashlib.sha1(repr(facts).encode()).hexdigest()


class Hub:
    """The server's state. `fault` is asked about every request: (method, path) → what goes wrong, if anything."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.sent: Counter[str] = Counter()
        """Bytes of bodies by file name."""
        self.url = ""
        self.signed = ""
        """If set, files are fetched from another address, which has this query."""
        self._hashes: dict[tuple[Path, int, int], tuple[str, str]] = {}

    def add(self, name: str, files: Mapping[str, Path] | Path, **facts: Any) -> Repository:
        if isinstance(files, Path):
            files = {str(file.relative_to(files)): file for file in sorted(files.rglob("*")) if file.is_file()}
        self.repositories[name] = Repository(dict(files), **facts)
        return self.repositories[name]

    def etag(self, path: Path) -> tuple[str, bool]:
        """Hash of a file's content as the hub names it, and whether it is in Git LFS."""
        stat = path.stat()
        key = path, stat.st_size, stat.st_mtime_ns
        if key not in self._hashes:
            data = path.read_bytes()
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            self._hashes[key] = git, hashlib.sha256(data).hexdigest()
        git, sha256 = self._hashes[key]
        return (sha256, True) if stat.st_size > LARGE else (git, False)


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub on a free port of loopback, for as long as the block lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the client has gone
            super().handle()

    def _answer(self, has_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        fault = self.hub.fault(self.command, path)
        if fault and fault.status:
            self._refuse(fault.status, fault.code)
            return
        if fault and fault.answer:
            self._page(fault.answer.encode(), "text/html")
            return
        if self.hub.signed and has_body and "/resolve/" in path and not path.startswith("/cdn/"):
            self.send_response(302)
            self.send_header("Location", f"/cdn{self.path}?{self.hub.signed}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = path.removeprefix("/cdn")
        parts = path.strip("/").split("/")
        before = "datasets/" if "datasets" in parts[:2] else ""
        if parts[0] == "datasets":
            del parts[0]
        if parts[:2] in (["api", "models"], ["api", "datasets"]):
            name = before + "/".join(parts[2:4])
            if (repository := self._repository(name)) is not None:
                if parts[4:5] in (["revision"], ["tree"]) and parts[5] not in ("main", repository.commit):
                    self._refuse(404, "RevisionNotFound")
                    return
                listing = self._listing(name, repository)
                self._json(_tree(listing) if parts[4:5] == ["tree"] else listing)
        elif len(parts) > 4 and parts[2] == "resolve":
            if (repository := self._repository(before + "/".join(parts[:2]))) is not None:
                if parts[3] not in ("main", repository.commit):
                    self._refuse(404, "RevisionNotFound")
                    return
                self._file(repository, "/".join(parts[4:]), has_body, fault)
        else:
            self._refuse(404, "")

    def _repository(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(401, "RepoNotFound")
        elif repository.gated:
            self._refuse(403, "GatedRepo")
        elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._refuse(401, "RepoNotFound")
        else:
            return repository
        return None

    def _listing(self, name: str, repository: Repository) -> dict[str, Any]:
        files = {name: path for name, path in repository.files.items()}
        files |= {listed: repository.files[real] for listed, real in repository.listed.items()}
        siblings = []
        for file, path in files.items():
            etag, is_large = self.hub.etag(path)
            size = path.stat().st_size
            one: dict[str, Any] = {"rfilename": file, "size": size, "blobId": etag[:40]}
            if is_large:
                one["lfs"] = {"sha256": etag, "size": size, "pointerSize": 130}
            siblings.append(one)
        return {
            "id": name.removeprefix("datasets/"),
            "modelId": name,
            "sha": repository.commit,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }

    def _file(self, repository: Repository, name: str, has_body: bool, fault: Fault | None) -> None:
        if name not in repository.files:
            self._refuse(404, "EntryNotFound")
            return
        path = repository.files[name]
        etag, is_large = self.hub.etag(path)
        size = path.stat().st_size
        begin = 0
        if (asked := self.headers.get("Range")) and asked.startswith("bytes="):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{etag}"')
        if is_large:
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(size))
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - begin))
        self.end_headers()
        if has_body:
            self._body(path, name, begin, fault)

    def _body(self, path: Path, name: str, begin: int, fault: Fault | None) -> None:
        try:
            with path.open("rb") as stream:
                if fault is None or not fault.body:
                    self.hub.sent[name] += path.stat().st_size - begin
                    self.connection.sendfile(stream, begin)
                    return
                stream.seek(begin)
                head = stream.read(fault.after)
                self.wfile.write(head)
                self.hub.sent[name] += len(head)
                if fault.body == "drop":
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault.body == "stall":
                    time.sleep(fault.seconds)
                while block := stream.read(65536):
                    if fault.body == "slow":
                        time.sleep(fault.seconds)
                    self.wfile.write(bytes(255 - byte for byte in block) if fault.body == "wrong" else block)
                    self.hub.sent[name] += len(block)
        except OSError:  # the client has gone
            self.close_connection = True

    def _json(self, value: object) -> None:
        self._page(json.dumps(value).encode(), "application/json")

    def _page(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _tree(listing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as the route that lists a folder gives it."""
    tree = []
    for one in listing["siblings"]:
        entry = {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": one["blobId"]}
        if lfs := one.get("lfs"):
            entry["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        tree.append(entry)
    return tree
