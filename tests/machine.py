"""A user's machine that pulls from a hub on loopback, and what a pull must leave there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import ROOT

#: The command, but for the pauses between two tries.
VT = [sys.executable, "-c", "import sys; from vtcli.models import hub; hub.WAIT = 0.05; "]
VT[-1] += "from vtcli.__main__ import main; sys.argv[0] = 'vt'; sys.exit(main())"
TAKEN = (".json", ".txt", ".jinja", ".safetensors", ".gguf")


class Machine:
    """A user's machine: its own cache and settings, and the hub it asks."""

    def __init__(self, folder: Path, url: str) -> None:
        self.cache = folder / "hf" / "hub"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.environment |= {
            "HF_HOME": str(folder / "hf"),
            "HF_ENDPOINT": url,
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "VT_HOME": str(folder / "vt"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*VT, *arguments],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def vt(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def folder(self, name: str) -> Path:
        return self.cache / f"models--{name.replace('/', '--')}"


def is_whole(repository: Path, published: Path) -> None:
    """Every file of these kinds is in the repository's folder of the cache and the same, and nothing else is."""
    (snapshot,) = (repository / "snapshots").iterdir()
    wanted = {file.name for file in published.iterdir() if file.suffix in TAKEN}
    assert {file.name for file in snapshot.iterdir()} == wanted
    for name in wanted:
        assert (snapshot / name).read_bytes() == (published / name).read_bytes()
    assert not list((repository / "blobs").glob("*.incomplete"))


def one_line(done: subprocess.CompletedProcess[str], says: str, status: int = 1) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("vt: error: ")]
    assert len(errors) == 1 and says in errors[0], done.stderr
    assert "Traceback" not in done.stderr
