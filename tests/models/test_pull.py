"""`vt pull` and `vt models` as subprocesses, from a real hub-compatible server on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import validate
from tests.hub import Fault, Hub, serve
from tests.machine import Machine, is_whole, one_line

pytest.importorskip("torch")
NAME = "acme/Small-7B"


@pytest.fixture
def hub(sharded: Path) -> Iterator[Hub]:
    with serve() as hub:
        hub.add(NAME, sharded)
        yield hub


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path, hub.url)


def test_a_checkpoint_is_pulled_and_answers(machine: Machine, hub: Hub, sharded: Path, clip: Path) -> None:
    done = machine.vt("pull", NAME, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    validate(record, "pull")
    assert (record["name"], record["quant"], record["where"]) == (NAME, None, "hub")
    is_whole(machine.folder(NAME), sharded)
    for taken in hub.sent:
        assert not taken.endswith((".bin", ".py", ".md"))
    asked = machine.vt("ask", str(clip), "What moves?", "-m", NAME, "--json", "--max-tokens", "8")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert (answer["model"]["name"], answer["model"]["revision"]) == (NAME, record["revision"])
    # the only model that is here needs no name
    assert machine.vt("ask", str(clip), "What moves?", "--json", "--dry-run").returncode == 0


def test_a_second_pull_fetches_nothing(machine: Machine, hub: Hub, sharded: Path) -> None:
    machine.vt("pull", NAME)
    hub.sent.clear()
    done = machine.vt("pull", NAME)
    assert done.returncode == 0 and not hub.sent and "all here" in done.stderr


def test_what_another_program_fetched_is_taken_when_it_is_right(machine: Machine, hub: Hub, sharded: Path) -> None:
    code = (
        f"from huggingface_hub import snapshot_download; snapshot_download({NAME!r}, allow_patterns=['*.safetensors'])"
    )
    subprocess.run([sys.executable, "-c", code], env=machine.environment, check=True, capture_output=True)
    hub.sent.clear()
    assert machine.vt("pull", NAME).returncode == 0
    assert hub.sent and not any(name.endswith(".safetensors") for name in hub.sent)
    is_whole(machine.folder(NAME), sharded)


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_file_is_fetched_again(machine: Machine, hub: Hub, sharded: Path, cut: bool) -> None:
    machine.vt("pull", NAME)
    (snapshot,) = (machine.folder(NAME) / "snapshots").iterdir()
    shard = sorted(snapshot.glob("*.safetensors"))[1]
    blob, data = shard.resolve(), shard.read_bytes()
    blob.write_bytes(data[:-1] if cut else data[:-1] + bytes([255 - data[-1]]))
    hub.sent.clear()
    assert machine.vt("pull", NAME).returncode == 0
    assert dict(hub.sent) == {shard.name: len(data)}
    is_whole(machine.folder(NAME), sharded)


def test_a_dropped_connection_goes_on_where_it_was(machine: Machine, hub: Hub, sharded: Path) -> None:
    dropped: list[str] = []

    def fault(method: str, path: str) -> Fault | None:
        if method == "GET" and path.endswith(".safetensors") and dropped.count(path) < 3:
            dropped.append(path)
            return Fault(body="drop", after=700_000)
        return None

    hub.fault = fault
    assert machine.vt("pull", NAME).returncode == 0
    assert len(dropped) == 9
    sizes = {file.name: file.stat().st_size for file in sharded.glob("*.safetensors")}
    assert {name: hub.sent[name] for name in sizes} == sizes  # no byte twice
    is_whole(machine.folder(NAME), sharded)


def test_kill_and_again(machine: Machine, hub: Hub, sharded: Path) -> None:
    hub.fault = lambda method, path: Fault(body="slow", seconds=0.05) if path.endswith(".safetensors") else None
    process = machine.start("pull", NAME)
    while sum(hub.sent.values()) < 3_000_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sum(file.stat().st_size for file in (machine.folder(NAME) / "blobs").iterdir())
    assert kept > 2_000_000
    listed = json.loads(machine.vt("models", "--json").stdout)
    validate(listed, "models")
    assert [one["repository"] for one in listed["partial"]] == [NAME] and NAME not in str(listed["models"])
    one_line(machine.vt("models", "rm", NAME), "kept: vt models rm acme/Small-7B -y removes without asking")
    hub.fault = lambda method, path: None
    hub.sent.clear()
    done = machine.vt("pull", NAME)
    assert done.returncode == 0 and "are missing" in done.stderr
    total = sum(file.stat().st_size for file in sharded.iterdir() if file.suffix in (".json", ".txt", ".safetensors"))
    assert sum(hub.sent.values()) <= total - kept
    is_whole(machine.folder(NAME), sharded)


def test_what_a_broken_download_left_can_be_removed(machine: Machine, hub: Hub) -> None:
    hub.fault = lambda method, path: Fault(body="wrong") if "2-of-00003" in path else None
    machine.vt("pull", NAME)
    (machine.folder(NAME) / "blobs" / f"{'0' * 64}.vt.incomplete").write_bytes(bytes(5000))
    before = sum(file.stat().st_size for file in (machine.folder(NAME) / "blobs").iterdir())
    done = machine.vt("models", "rm", NAME, "-y", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == before
    assert not machine.folder(NAME).exists()


def test_two_at_once(machine: Machine, hub: Hub, sharded: Path) -> None:
    hub.fault = lambda method, path: Fault(body="slow", seconds=0.01) if path.endswith(".safetensors") else None
    processes = [machine.start("pull", NAME) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    sizes = {file.name: file.stat().st_size for file in sharded.glob("*.safetensors")}
    assert {name: hub.sent[name] for name in sizes} == sizes  # each file by one of them
    is_whole(machine.folder(NAME), sharded)


def test_a_file_that_arrives_wrong_is_not_kept(machine: Machine, hub: Hub, sharded: Path) -> None:
    hub.fault = lambda method, path: (
        Fault(body="wrong", after=1000) if path.endswith("2-of-00003.safetensors") else None
    )
    one_line(machine.vt("pull", NAME), "model-00002-of-00003.safetensors of acme/Small-7B arrives damaged")
    hub.fault = lambda method, path: None
    assert machine.vt("pull", NAME).returncode == 0
    is_whole(machine.folder(NAME), sharded)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "RepoNotFound", "has no model acme/Small-7B, or a private one: check the name"),
        (403, "GatedRepo", "acme/Small-7B is gated: accept its terms at"),
        (403, "", "refuses acme/Small-7B (403): log in with `hf auth login`"),
        (404, "RepoNotFound", "has no model acme/Small-7B, or a private one"),
        (404, "RevisionNotFound", "has no revision"),
        (429, "", "asks for fewer requests (429)"),
        (500, "", "has a fault of its own (500): try again later"),
        (503, "", "has a fault of its own (503): try again later"),
    ],
)
def test_what_the_hub_refuses(
    machine: Machine, hub: Hub, status: int, code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fault = lambda method, path: Fault(status=status, code=code)
    one_line(machine.vt("pull", NAME), says)


def test_a_token_opens_a_private_repository(machine: Machine, hub: Hub) -> None:
    hub.repositories[NAME].token = "hf_secret"
    one_line(machine.vt("pull", NAME), "for a private one log in")
    assert machine.vt("pull", NAME, HF_TOKEN="hf_secret").returncode == 0


def test_a_server_that_is_not_there(machine: Machine) -> None:
    one_line(machine.vt("pull", NAME, HF_ENDPOINT="http://127.0.0.1:9"), "the connection to http://127.0.0.1:9 failed")


def test_a_stalled_server_is_left_in_the_end(machine: Machine, hub: Hub, sharded: Path) -> None:
    stalls = {"left": 2}

    def fault(method: str, path: str) -> Fault | None:
        if method == "GET" and path.endswith("1-of-00003.safetensors") and stalls["left"]:
            stalls["left"] -= 1
            return Fault(body="stall", after=100_000, seconds=5)
        return None

    hub.fault = fault
    assert machine.vt("pull", NAME).returncode == 0
    is_whole(machine.folder(NAME), sharded)


def test_offline(machine: Machine, hub: Hub) -> None:
    one_line(machine.vt("pull", NAME, "--offline"), "is not on this machine, and the network must not be used")
    one_line(machine.vt("pull", NAME, HF_HUB_OFFLINE="1"), "the network must not be used")
    assert not hub.requests
    machine.vt("pull", NAME)
    hub.requests.clear()
    assert machine.vt("pull", NAME, "--offline").returncode == 0
    assert machine.vt("pull", NAME, HF_HUB_OFFLINE="1").returncode == 0
    assert not hub.requests


def test_a_mirror_is_used(machine: Machine, hub: Hub, sharded: Path) -> None:
    with serve() as mirror:
        mirror.add(NAME, sharded)
        assert machine.vt("pull", NAME, HF_ENDPOINT=mirror.url).returncode == 0
        assert mirror.requests and not hub.requests


@pytest.mark.parametrize(
    "name", ["../../escape.json", "/tmp/escape.json", "a\\..\\b.json", "C:evil.json", "a/../b.json", "x\x1b[2J.json"]
)
def test_a_name_that_leaves_the_folder(machine: Machine, hub: Hub, name: str) -> None:
    hub.repositories[NAME].listed = {name: "config.json"}
    one_line(machine.vt("pull", NAME), "lists a file that would leave its folder")
    assert not machine.folder(NAME).exists()


def test_pickles_and_other_families_are_refused_before_anything_large(
    machine: Machine, hub: Hub, sharded: Path, tmp_path: Path
) -> None:
    files = {file.name: file for file in sharded.iterdir()}
    hub.add("acme/Pickled", {name: path for name, path in files.items() if "safetensors" not in name})
    one_line(machine.vt("pull", "acme/Pickled"), "only pickles (pytorch_model.bin), which vt never loads")
    other = tmp_path / "config.json"
    other.write_text(json.dumps({"model_type": "llama"}))
    hub.add("acme/Llama", files | {"config.json": other})
    one_line(machine.vt("pull", "acme/Llama"), "acme/Llama is a llama model")
    hub.add("acme/Nothing", {"notes.txt": sharded / "merges.txt"})
    one_line(machine.vt("pull", "acme/Nothing"), "neither config.json nor GGUF files")
    hub.add("acme/Hole", {name: path for name, path in files.items() if "2-of" not in name})
    one_line(machine.vt("pull", "acme/Hole"), "names model-00002-of-00003.safetensors, which is not there")
    assert not any(name.endswith((".safetensors", ".bin")) for name in hub.sent)


def test_a_published_export_is_pulled(machine: Machine, hub: Hub, ggufs: Path, clip: Path) -> None:
    hub.add(f"{NAME}-GGUF", ggufs)
    done = machine.vt("pull", f"{NAME}:q8_0")
    assert done.returncode == 0, done.stderr
    assert not any(name.endswith(".safetensors") for name in hub.sent)
    asked = machine.vt("ask", str(clip), "What moves?", "-m", f"{NAME}:q8_0", "--json", "--max-tokens", "8")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["model"]["quant"] == "Q8_0"
    one_line(
        machine.vt("pull", f"{NAME}-GGUF:q2_k"), "has no Q2_K (there are: f16, q8_0), and no checkpoint to make it"
    )


def test_an_export_is_made_where_none_is_published(machine: Machine, hub: Hub, clip: Path) -> None:
    pytest.importorskip("llama_cpp")
    done = machine.vt("pull", f"{NAME}:q4_k_m", "--drop-source", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["quant"], record["where"]) == ("Q4_K_M", "made here")
    assert "nobody is known to publish" in done.stderr and "MB of the checkpoint freed" in done.stderr
    assert not machine.folder(NAME).exists()
    hub.sent.clear()
    again = machine.vt("pull", f"{NAME}:q4_k_m")
    assert again.returncode == 0 and "is here already" in again.stderr and not hub.sent
    asked = machine.vt("ask", str(clip), "What moves?", "-m", NAME, "--max-tokens", "8", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["model"]["quant"] == "Q4_K"
    removed = machine.vt("models", "rm", f"{NAME}:q4_k_m", "-y", "--json")
    validate(json.loads(removed.stdout), "models")
    assert json.loads(removed.stdout)["bytes"] == record["bytes"]
    assert not Path(record["path"]).exists()


def test_models_lists_shows_and_removes(machine: Machine, hub: Hub, ggufs: Path) -> None:
    machine.vt("pull", NAME)
    hub.add("acme/Files", ggufs)
    machine.vt("pull", "acme/Files:q8_0")
    machine.vt("pull", "acme/Files:f16")
    listed = json.loads(machine.vt("models", "--json").stdout)
    validate(listed, "models")
    here = {(one["name"], one["quant"]): one for one in listed["models"] if one["installed"]}
    assert set(here) == {("tiny", None), (NAME, None), ("acme/Files", "Q8_0"), ("acme/Files", "F16")}
    assert here[NAME, None]["bytes"] > 9e6
    text = machine.vt("models").stdout
    assert "video-thinker-7b" in text and "acme/Files:q8_0" in text
    assert "9.9 MB" in machine.vt("models", "show", NAME).stdout

    one_line(
        machine.vt("models", "rm", "acme/Files:q8_0"), "kept: vt models rm acme/Files:q8_0 -y removes without asking"
    )
    before = sum(file.stat().st_size for file in machine.folder("acme/Files").rglob("blobs/*"))
    done = json.loads(machine.vt("models", "rm", "acme/Files:q8_0", "-y", "--json").stdout)
    after = sum(file.stat().st_size for file in machine.folder("acme/Files").rglob("blobs/*"))
    assert done["bytes"] == before - after > 0  # the projector stays for the other
    assert machine.vt("models", "rm", "acme/Files", "-y").returncode == 0
    assert not machine.folder("acme/Files").exists()
    one_line(machine.vt("models", "rm", "acme/Files", "-y"), "no such model: acme/Files")
    one_line(machine.vt("models", "rm", "tiny", "-y"), "tiny is no download of vt's: it stays")
    assert machine.vt("models", "rm", NAME, "-y").returncode == 0
    assert not machine.folder(NAME).exists()


def test_a_disk_that_is_too_small_is_told_first(machine: Machine, hub: Hub) -> None:
    code = (
        "import shutil, sys, collections; from vtcli.__main__ import run\n"
        "shutil.disk_usage = lambda place: collections.namedtuple('u', 'total used free')(10**9, 10**9, 5_000_000)\n"
        f"sys.exit(run(['pull', {NAME!r}]))"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code], env=machine.environment, capture_output=True, encoding="utf-8"
    )
    one_line(done, "and 0.0 GB are free there")
    assert not any(name.endswith(".safetensors") for name in hub.sent)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_keeps_what_was_fetched(machine: Machine, hub: Hub, sharded: Path) -> None:
    """A limit on the size of a file stands for the full disk: writing fails in the middle of a shard."""
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
    code = f"{limit}from vtcli.__main__ import run; sys.exit(run(['pull', {NAME!r}]))"
    done: Any = subprocess.run(
        [sys.executable, "-c", code], env=machine.environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 1 and done.stderr.count("vt: error: ") == 1, done.stderr
    kept = sum(file.stat().st_size for file in (machine.folder(NAME) / "blobs").iterdir())
    assert kept > 1_900_000
    hub.sent.clear()
    assert machine.vt("pull", NAME).returncode == 0
    is_whole(machine.folder(NAME), sharded)
    assert sum(hub.sent.values()) < 9_800_000 - 1_900_000


def test_a_question_without_a_model_offers_one(machine: Machine, hub: Hub, clip: Path) -> None:
    one_line(machine.vt("ask", str(clip), "what?"), "no model is installed: run vt pull video-thinker-7b:q4_k_m")
    one_line(machine.vt("ask", str(clip), "what?", "-m", NAME), f"run vt pull {NAME}")
    done = machine.vt("ask", str(clip), "What moves?", "-m", NAME, "-y", "--json", "--max-tokens", "8")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["name"] == NAME
