"""Records from a data set on the hub, by a real hub-compatible server on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from tests.e2e.conftest import validate
from tests.hub import Fault, Hub, serve
from tests.machine import Machine
from tests.train.test_run import flags
from vtcli.train import hub as hub_data

NAME = "acme/Shapes"
FETCH = """
import json, sys
from vtcli.errors import VtError
from vtcli.models import hub
from vtcli.train.hub import fetch, parse
hub.WAIT = 0.01
told = []
try:
    found = fetch(parse(sys.argv[1]), sys.argv[2] or None, sys.argv[3] == "ask", lambda *each: told.append(each))
    names = [str(file.relative_to(found.folder)) for file in found.files]
    print(json.dumps({"commit": found.commit, "names": names, "text": [f.read_text() for f in found.files],
                      "told": told[-1:]}))
except VtError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path, hub.url)


def published(hub: Hub, folder: Path, **files: str) -> str:
    """Puts a data set with these files on the hub; its commit. Of a name, `__` stands for a full stop, `_in_` for /."""
    made = {}
    for name, text in files.items():
        file = folder / name.replace("_in_", "/").replace("__", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        made[str(file.relative_to(folder))] = file
    return hub.add(f"datasets/{NAME}", made).commit


def fetch(machine: Machine, text: str = NAME, pinned: str = "", ask: bool = True, **environment: str) -> Any:
    command = [sys.executable, "-c", FETCH, text, pinned, "ask" if ask else ""]
    done = subprocess.run(command, env=machine.environment | environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acme/Shapes", ("acme/Shapes", None, None)),
        ("acme/Shapes:a/b-*.json", ("acme/Shapes", None, "a/b-*.json")),
        ("acme/Shapes@v1.0:x.json", ("acme/Shapes", "v1.0", "x.json")),
        ("acme/data.jsonl", None),
        ("data.json", None),
        ("./acme/Shapes", None),
        ("/acme/Shapes", None),
        ("a/b/c", None),
        ("../x", None),
        ("vtcli/train", None),  # is there
    ],
)
def test_names(text: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    found = hub_data.parse(text)
    assert (found and (found.repository, found.revision, found.files)) == expected


def test_a_data_set_is_fetched_once_and_kept(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    commit = published(hub, tmp_path / "a", train__json="[1]", videos__zip="PK", code__py="exit()")
    found = fetch(machine)
    assert found == {"commit": commit, "names": ["train.json"], "text": ["[1]"], "told": [[NAME, 3, 3]]}
    assert set(hub.sent) == {"train.json"}
    hub.sent.clear()
    assert fetch(machine)["names"] == ["train.json"] and not hub.sent
    hub.requests.clear()
    for again in (fetch(machine, HF_HUB_OFFLINE="1"), fetch(machine, pinned=commit), fetch(machine, ask=False),
                  fetch(machine, f"{NAME}@{commit}")):  # fmt: skip
        assert again == found | {"told": []}
    assert not hub.requests


def test_a_run_keeps_to_its_commit_when_the_data_set_moves_on(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    before = published(hub, tmp_path / "a", train__json="[1]")
    fetch(machine)
    after = published(hub, tmp_path / "b", train__json="[1, 2]")
    assert fetch(machine)["commit"] == after != before
    old = fetch(machine, pinned=before)
    assert (old["commit"], old["text"]) == (before, ["[1]"])


def test_files_are_named(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    many = {"data_in_train-0__jsonl": "1", "data_in_train-1__jsonl": "2", "data_in_test-0__jsonl": "3", "x__json": "[]"}
    published(hub, tmp_path / "a", **many)
    assert "name those to train on, acme/Shapes:data/test-0.jsonl" in fetch(machine)["error"]
    assert fetch(machine, f"{NAME}:x.json")["names"] == ["x.json"]
    # A part of what is meant is not taken for all of it.
    assert "is not complete on this machine" in fetch(machine, f"{NAME}:data/train-*", HF_HUB_OFFLINE="1")["error"]
    assert fetch(machine, f"{NAME}:data/train-*")["text"] == ["1", "2"]
    assert fetch(machine, f"{NAME}:data/train-*", HF_HUB_OFFLINE="1")["text"] == ["1", "2"]
    assert "holds no ../x.json; it has data/test-0.jsonl" in fetch(machine, f"{NAME}:../x.json")["error"]


def test_what_the_hub_refuses(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    assert "has no data set acme/Shapes, or a private one" in fetch(machine)["error"]
    assert "is not complete on this machine" in fetch(machine, HF_HUB_OFFLINE="1")["error"]
    published(hub, tmp_path / "a", readme__md="hello")
    assert "holds no .json, .jsonl, .parquet files" in fetch(machine)["error"]
    published(hub, tmp_path / "a", train__json="[1]")
    assert "has no revision v9" in fetch(machine, f"{NAME}@v9")["error"]
    hub.fault = lambda method, path: Fault(body="wrong") if "resolve" in path and method == "GET" else None
    assert "arrives damaged" in fetch(machine)["error"]
    hub.fault = lambda method, path: None
    hub.repositories[f"datasets/{NAME}"].gated = True
    assert f"accept its terms at {hub.url}/datasets/acme/Shapes" in fetch(machine)["error"]


@pytest.mark.slow
def test_training_goes_on_with_the_records_it_began_with(
    machine: Machine, hub: Hub, random_checkpoint: Path, shapes: Path, tmp_path: Path
) -> None:
    commit = published(hub, tmp_path / "a", train__jsonl=shapes.read_text())
    command = [*flags(random_checkpoint, Path(NAME), "sft.max_steps=1"), "--stage", "sft", "-o", str(tmp_path / "out")]
    done = machine.vt(*command)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "the videos of acme/Shapes are not fetched with its records" in line and "--root shapes=DIR" in line
    command += ["--root", str(shapes.parent), "--json"]
    done = machine.vt(*command)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    validate(report, "train")
    assert report["data"]["hub"] == {NAME: commit} and report["data"]["train"] == 6
    assert f"vt: {NAME} at {commit[:12]}: train.jsonl" in done.stderr
    published(hub, tmp_path / "b", train__jsonl="\n".join(shapes.read_text().splitlines()[:6]))
    done = machine.vt(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == report
    other = machine.vt(*command[:-3], "-o", str(tmp_path / "new"), "--root", str(shapes.parent), "--dry-run")
    assert other.returncode == 0 and "6 records: 4 to train on" in other.stderr
