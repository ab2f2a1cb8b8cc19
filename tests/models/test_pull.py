"""`vt pull` and `vt models` as subprocesses, from a real hub-compatible server on loopback."""

from __future__ import annotations

import hashlib
import json
import shutil
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
from vtcli.models.download import missing_bytes, storage_of
from vtcli.models.hub import Listing, RemoteFile

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


def broken_off(machine: Machine, hub: Hub, name: str, file: str) -> None:
    """Kills a pull of `name` in the middle of `file`."""
    hub.fault = lambda method, path: Fault(body="slow", seconds=0.3) if path.endswith(file) else None
    process = machine.start("pull", name)
    while hub.sent[file] < 500_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    hub.fault = lambda method, path: None


def test_removing_a_broken_download_keeps_what_is_complete(machine: Machine, hub: Hub, ggufs: Path) -> None:
    hub.add("acme/Files", ggufs)
    machine.vt("pull", "acme/Files:f16")
    broken_off(machine, hub, "acme/Files:q8_0", "tiny-Q8_0.gguf")
    one_line(machine.vt("models", "rm", "acme/Files:q8_0"), "MB of acme/Files kept")
    (snapshot,) = (machine.folder("acme/Files") / "snapshots").iterdir()
    assert machine.vt("models", "rm", "acme/Files:q8_0", "-y").returncode == 0
    assert not list((machine.folder("acme/Files") / "blobs").glob("*.incomplete"))
    assert sorted(file.name for file in snapshot.iterdir() if file.exists()) == [
        "mmproj-tiny-F16.gguf",
        "tiny-F16.gguf",
    ]
    one_line(machine.vt("models", "rm", "acme/Files:q8_0", "-y"), "no such model")


def test_removing_a_broken_download_keeps_files_of_other_programs(machine: Machine, hub: Hub, ggufs: Path) -> None:
    hub.add("acme/Files", ggufs)
    code = "from huggingface_hub import hf_hub_download; hf_hub_download('acme/Files', 'tiny-F16.gguf')"
    subprocess.run([sys.executable, "-c", code], env=machine.environment, check=True, capture_output=True)
    broken_off(machine, hub, "acme/Files:q8_0", "tiny-Q8_0.gguf")
    assert machine.vt("models", "rm", "acme/Files:q8_0", "-y").returncode == 0
    (snapshot,) = (machine.folder("acme/Files") / "snapshots").iterdir()
    assert (snapshot / "tiny-F16.gguf").read_bytes() == (ggufs / "tiny-F16.gguf").read_bytes()


def test_what_another_program_downloads_is_no_download_of_vts(machine: Machine) -> None:
    folder = machine.folder("meta/Big")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(bytes(1000))
    (folder / "blobs").mkdir()
    (folder / "blobs" / "x.1234.incomplete").write_bytes(bytes(1000))
    assert json.loads(machine.vt("models", "--json").stdout)["partial"] == []
    one_line(machine.vt("models", "rm", "meta/Big", "-y"), "no such model: meta/Big")
    assert (folder / "snapshots" / "abc" / "model.safetensors").exists()


def test_an_unfinished_model_is_shown_as_one(machine: Machine, hub: Hub, ggufs: Path) -> None:
    hub.add("acme/Files", ggufs)
    broken_off(machine, hub, "acme/Files:q8_0", "tiny-Q8_0.gguf")
    one_line(machine.vt("models", "show", "acme/Files:q8_0"), "is not complete on this machine: vt pull goes on")


@pytest.fixture
def later(sharded: Path, tmp_path: Path) -> Path:
    """The same checkpoint, of another commit."""
    folder = tmp_path / "later"
    shutil.copytree(sharded, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"marker": "later"}))
    return folder


def test_a_revision_is_asked_shown_and_removed(machine: Machine, hub: Hub, later: Path, clip: Path) -> None:
    old = hub.repositories[NAME].commit
    machine.vt("pull", f"{NAME}@{old}")
    new = hub.add(NAME, later).commit
    machine.vt("pull", NAME)
    for revision, commit in ((f"@{old}", old), ("", new), ("@main", new)):
        asked = machine.vt("ask", str(clip), "What moves?", "-m", f"{NAME}{revision}", "--dry-run", "--json")
        assert json.loads(asked.stdout)["model"]["revision"] == commit
    shown = json.loads(machine.vt("models", "show", f"{NAME}@{old}", "--json").stdout)
    assert [one["revision"] for one in shown["models"]] == [old]
    done = machine.vt("models", "rm", NAME, "-y")
    assert f"another revision is still here: vt models rm {NAME}@{old} removes it" in done.stdout
    removed = machine.vt("models", "rm", f"{NAME}@{old}", "-y", "--json")
    assert json.loads(removed.stdout)["removed"] == [f"{NAME}@{old}"]
    assert not machine.folder(NAME).exists()
    one_line(
        machine.vt("ask", str(clip), "What moves?", "-m", f"{NAME}@{old}", "--dry-run"), f"run vt pull {NAME}@{old},"
    )
    one_line(machine.vt("ask", str(clip), "What moves?", "-m", f"{NAME}@{old}", "-y"), f"has no revision {old}")


def entry(machine: Machine, text: str) -> None:
    folder = Path(machine.environment["VT_HOME"]) / "models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.toml").write_text(text)


def test_names_of_the_hub_and_of_the_catalogue_are_one_model(
    machine: Machine, hub: Hub, sharded: Path, ggufs: Path
) -> None:
    entry(machine, f'repository = "{NAME}"\n')
    assert machine.vt("pull", NAME).returncode == 0
    assert "small" in machine.vt("models", "show", NAME).stdout
    assert machine.vt("models", "rm", NAME, "-y").returncode == 0
    assert not machine.folder(NAME).exists()
    one_line(machine.vt("models", "rm", NAME, "-y"), f"{NAME} is not on this machine")
    hub.add("acme/Other", sharded)
    hub.add("acme/Other-GGUF", ggufs)
    assert machine.vt("pull", "acme/Other:q8_0").returncode == 0
    assert "acme/Other-GGUF" in machine.vt("models", "show", "acme/Other:q8_0").stdout
    assert machine.vt("models", "rm", "acme/Other:q8_0", "-y").returncode == 0
    assert not machine.folder("acme/Other-GGUF").exists()


def test_the_named_repository_is_removed_and_no_other(machine: Machine, hub: Hub, ggufs: Path) -> None:
    hub.add(f"{NAME}-GGUF", ggufs)
    machine.vt("pull", NAME)
    machine.vt("pull", f"{NAME}:q8_0")
    done = json.loads(machine.vt("models", "rm", NAME, "-y", "--json").stdout)
    assert done["removed"] == [NAME]
    assert machine.vt("models", "show", f"{NAME}-GGUF:q8_0").returncode == 0


def test_the_first_answer_has_the_prompt_of_the_catalogue(
    machine: Machine, hub: Hub, ggufs: Path, tmp_path: Path, clip: Path
) -> None:
    gguf = pytest.importorskip("gguf")
    published = tmp_path / "published"
    published.mkdir()
    for name in ("tiny-Q8_0.gguf", "mmproj-tiny-F16.gguf"):
        without_own_keys(gguf, ggufs / name, published / name)
    hub.add("other/Small-GGUF", published)
    start = f'repository = "{NAME}"\nscope = "is small"\nprompt = "plain"\n'
    entry(machine, f'{start}[[gguf]]\nrepository = "other/Small-GGUF"\nquants = ["Q8_0"]\n')
    prompts = []
    for _ in range(2):
        asked = machine.vt("ask", str(clip), "What?", "-m", "small:q8_0", "-y", "--dry-run", "--json")
        assert asked.returncode == 0, asked.stderr
        prompts.append((json.loads(asked.stdout)["model"]["name"], json.loads(asked.stdout)["prompt"]))
    assert prompts[0] == prompts[1]
    assert prompts[0][0] == "small:q8_0" and "You are a helpful assistant" in prompts[0][1]


def without_own_keys(gguf: Any, source: Path, target: Path) -> None:
    """Copies a GGUF file without vt's metadata, as other programs write it."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, value in reader.fields.items():
        if not key.startswith(("GGUF.", "vtcli.", "general.architecture")):
            kind = value.types[0]
            part = value.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, value.contents(), kind, part)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("linkless", ["0", "1"])
def test_two_at_once(machine: Machine, hub: Hub, sharded: Path, linkless: str) -> None:
    hub.fault = lambda method, path: Fault(body="slow", seconds=0.01) if path.endswith(".safetensors") else None
    processes = [machine.start("pull", NAME, HF_HUB_DISABLE_SYMLINKS=linkless) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    sizes = {file.name: file.stat().st_size for file in sharded.glob("*.safetensors")}
    assert {name: hub.sent[name] for name in sizes} == sizes  # each file by one of them
    is_whole(machine.folder(NAME), sharded)


def half_copied(machine: Machine) -> tuple[Path, Path]:
    """What a killed copy of another program leaves without links: a whole blob, and half of it in the snapshot."""
    assert machine.vt("pull", NAME, HF_HUB_DISABLE_SYMLINKS="1").returncode == 0
    (snapshot,) = (machine.folder(NAME) / "snapshots").iterdir()
    shard = sorted(snapshot.glob("*.safetensors"))[1]
    data = shard.read_bytes()
    blob = machine.folder(NAME) / "blobs" / hashlib.sha256(data).hexdigest()
    assert not shard.is_symlink() and not blob.exists()
    blob.write_bytes(data)
    shard.write_bytes(data[: len(data) // 2])
    return shard, blob


@pytest.mark.parametrize("linkless", ["0", "1"])
def test_a_half_copied_file_is_made_from_its_blob(machine: Machine, hub: Hub, sharded: Path, linkless: str) -> None:
    shard, blob = half_copied(machine)
    hub.sent.clear()
    done = machine.vt("pull", NAME, HF_HUB_DISABLE_SYMLINKS=linkless)
    assert done.returncode == 0 and not hub.sent and "all here" in done.stderr, done.stderr
    assert (shard.is_symlink(), blob.exists()) == ((True, True) if linkless == "0" else (False, False))
    is_whole(machine.folder(NAME), sharded)


def test_a_file_that_another_program_copies_is_left_alone(machine: Machine, hub: Hub, sharded: Path) -> None:
    from huggingface_hub.utils._fixes import WeakFileLock

    shard, blob = half_copied(machine)
    hub.sent.clear()
    with WeakFileLock(machine.cache / ".locks" / machine.folder(NAME).name / f"{blob.name}.lock"):
        process = machine.start("pull", NAME, HF_HUB_DISABLE_SYMLINKS="1")
        time.sleep(3)
        assert process.poll() is None and shard.exists() and blob.exists()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and not hub.sent, err
    is_whole(machine.folder(NAME), sharded)


def test_a_blob_that_another_snapshot_links_to_stays(machine: Machine, hub: Hub, sharded: Path, tmp_path: Path) -> None:
    """Links were possible at the first pull, and are not at the second, of a newer commit."""
    machine.vt("pull", NAME)
    (first,) = (machine.folder(NAME) / "snapshots").iterdir()
    notes = tmp_path / "notes.txt"
    notes.write_text("new")
    hub.repositories[NAME].files["notes.txt"] = notes
    hub.sent.clear()
    assert machine.vt("pull", NAME, HF_HUB_DISABLE_SYMLINKS="1").returncode == 0
    assert dict(hub.sent) == {"notes.txt": 3}
    for file in first.iterdir():
        assert file.read_bytes() == (sharded / file.name).read_bytes()


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


@pytest.mark.parametrize("status", [400, 404, 410, 416])
def test_what_a_signed_address_holds_is_not_printed(machine: Machine, hub: Hub, status: int) -> None:
    """The hub sends to another server with a signature; its refusal names the address without it."""
    hub.signed = "X-Amz-Signature=s3cret"
    assert machine.vt("pull", NAME).returncode == 0
    hub.fault = lambda method, path: Fault(status=status) if path.startswith("/cdn/") else None
    machine.vt("models", "rm", NAME, "-y")
    done = machine.vt("pull", NAME)
    one_line(done, f"{hub.url} refuses {NAME}: {status} for {hub.url}/cdn/")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        "<html>Log in to the Wi-Fi</html>",
        "{}",
        "[]",
        '{"id": "a", "sha": null, "siblings": [{}]}',
        '{"id": "a", "sha": "0", "siblings": [{"rfilename": 5}]}',
        '{"id": "a", "sha": "0", "siblings": [{"rfilename": "a.json", "size": "5", "blobId": "' + "0" * 40 + '"}]}',
        '{"id": "a", "sha": 5, "siblings": []}',
    ],
)
def test_an_answer_that_is_not_a_hubs(machine: Machine, hub: Hub, body: str) -> None:
    hub.fault = lambda method, path: Fault(answer=body)
    one_line(machine.vt("pull", NAME), f"{hub.url} does not answer as a hub does")


def test_names_and_passwords_are_not_printed(machine: Machine, hub: Hub) -> None:
    secret = hub.url.replace("http://", "http://me:s3cret@")
    for status, says in ((404, f"{hub.url} refuses {NAME}: 404"), (429, f"{hub.url} asks for fewer requests")):
        hub.fault = lambda method, path, status=status: Fault(status=status)
        done = machine.vt("pull", NAME, HF_ENDPOINT=secret)
        one_line(done, says)
        assert "s3cret" not in done.stderr
    for proxy in ("socks5", "socks4"):
        done = machine.vt("pull", NAME, HF_ENDPOINT="http://hub.invalid", ALL_PROXY=f"{proxy}://u:s3cret@127.0.0.1:9")
        one_line(done, "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: ")
        assert "s3cret" not in done.stderr


def test_a_token_with_odd_characters(machine: Machine, hub: Hub) -> None:
    done = machine.vt("pull", NAME, HF_TOKEN="hf_s\u00e9cret")
    one_line(done, "the token (HF_TOKEN, or that of `hf auth login`) holds a character that no token has")
    assert "cret" not in done.stderr


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


def test_of_several_exports_the_one_pulled_last_answers(machine: Machine, hub: Hub, later: Path, clip: Path) -> None:
    pytest.importorskip("llama_cpp")
    first = hub.repositories[NAME]
    for published in (hub.add(NAME, later), first):
        hub.repositories[NAME] = published
        done = machine.vt("pull", f"{NAME}:q4_k_m", "--json", "--drop-source")
        assert json.loads(done.stdout)["revision"] == published.commit
        asked = machine.vt("ask", str(clip), "What?", "-m", f"{NAME}:q4_k_m", "--dry-run", "--json")
        assert json.loads(asked.stdout)["model"]["revision"] == published.commit


def test_an_export_of_a_pinned_revision_is_found_without_its_source(machine: Machine, hub: Hub, clip: Path) -> None:
    pytest.importorskip("llama_cpp")
    entry(machine, f'repository = "{NAME}"\nrevision = "main"\n')
    done = machine.vt("pull", "small:q4_k_m", "--drop-source")
    assert done.returncode == 0, done.stderr
    assert not machine.folder(NAME).exists()
    assert machine.vt("ask", str(clip), "What?", "-m", "small:q4_k_m", "--dry-run").returncode == 0


def test_the_source_is_dropped_later_too(machine: Machine, hub: Hub) -> None:
    pytest.importorskip("llama_cpp")
    machine.vt("pull", f"{NAME}:q4_k_m")
    done = machine.vt("pull", f"{NAME}:q4_k_m", "--drop-source")
    assert "is here already" in done.stderr and "MB of the checkpoint freed" in done.stderr
    assert not machine.folder(NAME).exists()


def test_what_a_killed_export_left_goes_with_the_next(machine: Machine, hub: Hub) -> None:
    pytest.importorskip("llama_cpp")
    exports = Path(machine.environment["VT_HOME"]) / "models" / NAME.replace("/", "--")
    for commit in ("an-older-commit", hub.repositories[NAME].commit):
        left = exports / commit / ".vt-export-abc"
        left.mkdir(parents=True)
        (left / "text.gguf").write_bytes(bytes(1000))
    assert machine.vt("pull", f"{NAME}:q4_k_m").returncode == 0
    assert not list(exports.rglob(".vt-export-*"))


def test_an_export_is_made_where_what_the_catalogue_lists_is_gone(machine: Machine, hub: Hub, ggufs: Path) -> None:
    pytest.importorskip("llama_cpp")
    listed = '[[gguf]]\nrepository = "other/Small-GGUF"\nquants = ["Q4_K_M", "Q6_K"]\n'
    entry(machine, f'repository = "{NAME}"\n{listed}')
    done = machine.vt("pull", "small:q4_k_m", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["where"] == "made here", done.stderr
    hub.add("other/Small-GGUF", ggufs)  # with other types
    done = machine.vt("pull", "small:q6_k", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["where"] == "made here", done.stderr


def test_a_fault_is_not_taken_for_a_repository_that_is_not_there(machine: Machine, hub: Hub, ggufs: Path) -> None:
    hub.add(f"{NAME}-GGUF", ggufs)
    hub.fault = lambda method, path: Fault(status=503) if f"{NAME}-GGUF" in path else None
    one_line(machine.vt("pull", f"{NAME}:q8_0"), "has a fault of its own (503)")
    assert not hub.sent


def test_of_a_named_revision_the_export_is_made(machine: Machine, hub: Hub, ggufs: Path) -> None:
    pytest.importorskip("llama_cpp")
    hub.add(f"{NAME}-GGUF", ggufs)
    done = machine.vt("pull", f"{NAME}@{hub.repositories[NAME].commit}:q8_0", "--json")
    assert json.loads(done.stdout)["where"] == "made here", done.stderr


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


def test_bytes_that_are_missing(hub: Hub, tmp_path: Path) -> None:
    """Files of a wrong size are fetched anew; without links a file takes its size once."""
    listing = Listing(NAME, "0" * 40, {"a.json": RemoteFile("a.json", 10, "1" * 40)}, ())
    blobs, snapshot = storage_of(listing) / "blobs", storage_of(listing) / "snapshots" / listing.commit
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    assert missing_bytes(listing, ["a.json"]) == 10
    (blobs / f"{'1' * 40}.vt.incomplete").write_bytes(bytes(4))
    (snapshot / "a.json").write_bytes(bytes(7))
    assert missing_bytes(listing, ["a.json"]) == 6
    (blobs / f"{'1' * 40}.vt.incomplete").write_bytes(bytes(11))
    assert missing_bytes(listing, ["a.json"]) == 10
    (blobs / ("1" * 40)).write_bytes(bytes(10))
    assert missing_bytes(listing, ["a.json"]) == 0


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
