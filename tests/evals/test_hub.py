"""Annotations come from the hub where they are not at hand: a local server answers as it does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.evals.benchmarks.test_loaders import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
FILE = json.dumps(SAMPLES["video-holmes"][1]).encode()
READ = """
import sys
from pathlib import Path
from vtcli.errors import VtError
from vtcli.evals.running import source
try:
    found = source("video-holmes", None, Path(sys.argv[1]), None, Path(sys.argv[1]), offline=len(sys.argv) > 2)
    print(found.tasks[0].id, found.annotations["sha256"])
except VtError as error:
    print(f"{type(error).__name__}: {error}")
"""


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        there = self.path == "/datasets/TencentARC/Video-Holmes/resolve/main/test_Video-Holmes.json"
        self.send_response(200 if there else 404)
        for name, value in (("X-Repo-Commit", "0" * 40), ("ETag", '"abc"'), ("Content-Length", str(len(FILE) * there))):
            self.send_header(name, value)
        self.end_headers()
        if body and there:
            self.wfile.write(FILE)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(tmp_path: Path, endpoint: str, *more: str) -> str:
    (tmp_path / "videos").mkdir(exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
        "no_proxy": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-c", READ, str(tmp_path / "videos"), *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


def test_annotations_are_fetched_once(tmp_path: Path, hub: str) -> None:
    expected = f"abc/3 {hashlib.sha256(FILE).hexdigest()}\n"
    assert read(tmp_path, hub) == expected
    assert read(tmp_path, hub, "offline") == expected


def test_what_cannot_be_fetched_is_said_in_one_line(tmp_path: Path, hub: str) -> None:
    found = read(tmp_path, f"{hub}/wrong")
    assert found.count("\n") == 1 and found.startswith(
        "DataError: test_Video-Holmes.json of TencentARC/Video-Holmes could"
    )
    assert "give it with --annotations" in found
