"""Kept video prefixes: the second question is answered as it would have been anyway, from what was kept."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.asking import make_request, with_sampling
from vtcli.engines.base import Engine, Request
from vtcli.engines.prefix import Prefix, PrefixStore
from vtcli.layout import build_layout
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.models.fingerprint import fingerprint
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import Prompt

ENGINES = ("transformers", "llama-cpp")


@pytest.fixture(scope="module")
def files(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("llama_cpp")
    from vtcli.models.export import export

    folder = tmp_path_factory.mktemp("gguf")
    made = export(open_checkpoint(random_checkpoint), folder, "F16")
    return {"transformers": random_checkpoint, "llama-cpp": made.text}


def make(name: str, files: dict[str, Path], store: PrefixStore | None) -> Engine:
    checkpoint = open_checkpoint(files[name])
    tokenizer = Tokenizer(checkpoint.path)
    if name == "transformers":
        from vtcli.engines.transformers import TransformersEngine

        return TransformersEngine(checkpoint, tokenizer, "cpu", store=store)
    from vtcli.engines.llama_cpp import LlamaCppEngine

    return LlamaCppEngine(checkpoint, tokenizer, "cpu", store=store)


def say(engine: Engine, request: Request) -> tuple[str, int]:
    """The reply, and how many tokens of the prompt were not computed."""
    reply = "".join(engine.stream(request))
    assert engine.stats is not None
    return reply, engine.stats.cached_tokens


def asked(request: Request, checkpoint: Checkpoint, question: str, second_per_grid: float = 3.75) -> Request:
    """Another question about the clip of `request`, or the same clip at other times."""
    _, ids = Tokenizer(checkpoint.path).encode_prompt(Prompt("You are an expert.", question))
    layout = build_layout(
        ids, request.grid, second_per_grid, video_token_id=checkpoint.video_token_id, tokens_per_second=2
    )
    return dataclasses.replace(request, layout=layout)


@pytest.mark.parametrize("name", ENGINES)
def test_a_second_question_costs_no_video(
    name: str, files: dict[str, Path], random_checkpoint: Path, tmp_path: Path
) -> None:
    request = make_request(random_checkpoint)
    other = asked(request, open_checkpoint(random_checkpoint), "The green triangle pushed it?")
    alone = make(name, files, None)
    alone.open()
    expected = say(alone, request), say(alone, other), say(alone, request)
    prefix = int(np.flatnonzero(request.layout.input_ids == open_checkpoint(random_checkpoint).video_token_id)[-1]) + 1
    assert [cached for _, cached in expected] == [0, prefix, prefix]  # in memory
    alone.close()
    assert expected[0][0] == expected[2][0] != expected[1][0]

    for cached in (0, prefix):  # a first and a second process, as far as the engine can tell
        engine = make(name, files, PrefixStore(tmp_path, 10**9))
        engine.open()
        assert say(engine, other) == (expected[1][0], cached)
        assert say(engine, request) == (expected[0][0], prefix)
        engine.close()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_a_longer_question_costs_no_video_either(name: str, files: dict[str, Path], random_checkpoint: Path) -> None:
    """It needs a larger reader, into which what was computed moves."""
    short, checkpoint = make_request(random_checkpoint), open_checkpoint(random_checkpoint)
    long = asked(short, checkpoint, "What then? " * 200)
    assert long.capacity > short.capacity
    alone = make(name, files, None)
    alone.open()
    expected, _ = say(alone, long)
    alone.close()
    engine = make(name, files, None)
    engine.open()
    say(engine, short)
    reply, cached = say(engine, long)
    assert cached > 0 and reply == expected
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
def test_weights_that_are_replaced_after_loading_spoil_no_cache(
    name: str, files: dict[str, Path], tmp_path: Path
) -> None:
    """What the old ones compute is kept as theirs, not as that of the new ones."""
    source = files[name]
    there = tmp_path / "model" / ("" if source.is_dir() else source.name)
    shutil.copytree(source if source.is_dir() else source.parent, tmp_path / "model")
    request, store = make_request(files["transformers"], max_tokens=2), PrefixStore(tmp_path / "kept", 10**9)
    engine = make(name, {name: there}, store)
    engine.open()
    for file in open_checkpoint(there).weights.files:
        copy = file.with_suffix(".new")
        shutil.copyfile(file, copy)
        os.utime(copy, (1, 1))
        os.replace(copy, file)
    assert say(engine, request)[1] == 0
    engine.close()
    after = make(name, {name: there}, store)
    after.open()
    assert say(after, request)[1] == 0
    after.close()


def test_weights_that_are_replaced_while_they_load_keep_nothing(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtcli.engines import transformers

    folder, store = tmp_path / "model", PrefixStore(tmp_path / "kept", 10**9)
    shutil.copytree(random_checkpoint, folder)
    load = transformers.load_model

    def slow(*arguments: Any) -> Any:
        model = load(*arguments)
        for file in folder.glob("*.safetensors"):
            os.utime(file, (1, 1))
        return model

    monkeypatch.setattr(transformers, "load_model", slow)
    engine = make("transformers", {"transformers": folder}, store)
    engine.open()
    assert say(engine, make_request(folder, max_tokens=2))[1] == 0
    engine.close()
    assert store.files() == []


def test_an_answer_is_given_though_its_clip_cannot_be_kept(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from vtcli.engines.keyvalues import KeyValues

    monkeypatch.setattr(KeyValues, "save", lambda *_: torch.empty(2**48))  # torch's own error, a RuntimeError
    engine = make("transformers", {"transformers": random_checkpoint}, PrefixStore(tmp_path, 10**9))
    engine.open()
    assert say(engine, make_request(random_checkpoint, max_tokens=2))[0]
    assert any("not kept" in warning for warning in engine.warnings)
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
def test_another_processor_computes_for_itself(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared home is read by machines that round differently."""
    from vtcli.engines import local

    request, cached = make_request(files["transformers"], max_tokens=2), []
    for chip in ("this", "this", "another"):
        monkeypatch.setattr(local, "processor", lambda chip=chip: chip)
        engine = make(name, files, PrefixStore(tmp_path, 10**9))
        engine.open()
        cached.append(say(engine, request)[1])
        engine.close()
    assert cached[0] == cached[2] == 0 < cached[1]


@pytest.mark.parametrize("name", ENGINES)
def test_other_frames_times_or_weights_are_computed(
    name: str, files: dict[str, Path], random_checkpoint: Path, tmp_path: Path
) -> None:
    request = make_request(random_checkpoint, max_tokens=2)
    engine = make(name, files, PrefixStore(tmp_path, 10**9))
    engine.open()
    assert say(engine, request)[1] == 0
    pixels = request.pixels.copy()
    pixels[-1, -1, -1] ^= 1
    assert say(engine, dataclasses.replace(request, pixels=pixels))[1] == 0
    assert say(engine, asked(request, open_checkpoint(random_checkpoint), "Why?", 3.0))[1] == 0
    assert say(engine, request)[1] > 0  # still known
    engine.close()


@pytest.mark.parametrize("changed", ["weights", "how pictures are normalised", "written again"])
def test_another_checkpoint_finds_nothing(random_checkpoint: Path, tmp_path: Path, changed: str) -> None:
    from safetensors.torch import load_file, save_file

    folder, store = tmp_path / "model", PrefixStore(tmp_path / "kept", 10**9)
    shutil.copytree(random_checkpoint, folder)
    request = make_request(folder, max_tokens=2)
    cached = []
    for _ in range(2):
        engine = make("transformers", {"transformers": folder}, store)
        engine.open()
        cached.append(say(engine, request)[1])
        engine.close()
    assert cached[0] == 0 < cached[1]
    if changed == "weights":
        for shard in folder.glob("*.safetensors"):
            save_file({name: value * 1.01 for name, value in load_file(shard).items()}, shard, {"format": "pt"})
    elif changed == "written again":
        for shard in folder.glob("*.safetensors"):
            os.utime(shard, (1, 1))
    else:
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.1, 0.2, 0.3]}))
    engine = make("transformers", {"transformers": folder}, store)
    engine.open()
    assert say(engine, request)[1] == 0
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another size"])
def test_a_broken_file_is_a_miss(
    name: str, files: dict[str, Path], random_checkpoint: Path, tmp_path: Path, damage: str
) -> None:
    request = make_request(random_checkpoint, max_tokens=8)
    store = PrefixStore(tmp_path, 10**9)
    engine = make(name, files, store)
    engine.open()
    expected, _ = say(engine, request)
    engine.close()
    (file,) = store.files()
    data = bytearray(file.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[len(data) // 2] ^= 255
    elif damage == "empty":
        data = bytearray()
    else:  # whole, but not what this model has
        prefix = Prefix(1, 1, file.stem)
        assert store.put(prefix, [np.zeros(100, np.uint8)])
        data = bytearray(file.read_bytes())
    file.write_bytes(data)
    engine = make(name, files, store)
    engine.open()
    assert say(engine, request) == (expected, 0)
    engine.close()
    again = make(name, files, store)
    again.open()
    assert say(again, request)[0] == expected
    assert again.stats is not None and again.stats.cached_tokens > 0  # mended
    again.close()


def test_an_interrupted_reply_keeps_nothing_wrong(
    files: dict[str, Path], random_checkpoint: Path, tmp_path: Path
) -> None:
    request = make_request(random_checkpoint)
    for name in ENGINES:
        engine = make(name, files, PrefixStore(tmp_path / name, 10**9))
        engine.open()
        stream = engine.stream(with_sampling(request, max_tokens=1000))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        expected, cached = say(engine, request)
        assert cached == 0
        assert say(engine, request)[0] == expected
        engine.close()


def prefix(number: int) -> Prefix:
    return Prefix(1, 1, f"{number:064x}")


def content(size: int, value: int = 0) -> list[np.ndarray[Any, Any]]:
    return [np.full(size // 2, value, np.uint8), np.full(size - size // 2, value, np.uint8)]


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path / "new", 1000)
    for number in range(3):
        assert store.put(prefix(number), content(300, number))
        time.sleep(0.01)
    assert store.get(prefix(0)) is not None  # and now used last
    time.sleep(0.01)
    assert store.put(prefix(3), content(300, 3))
    assert [store.get(prefix(n)) is not None for n in range(4)] == [True, False, True, True]
    found = store.get(prefix(3))
    assert found is not None and (found == 3).all() and found.nbytes == 300
    assert not store.put(prefix(4), content(2000))
    assert store.clear()[0] == 3
    assert store.files() == [] and store.get(prefix(0)) is None


@pytest.mark.parametrize("size", [10, 500])
def test_a_lower_limit_holds_from_the_next_question_on(tmp_path: Path, size: int) -> None:
    for number in range(4):
        assert PrefixStore(tmp_path, 10_000).put(prefix(number), content(300))
    lower = PrefixStore(tmp_path, 400)
    assert lower.put(prefix(9), content(size)) == (size < 400)
    assert lower.usage()[1] <= 400


def test_processes_that_store_at_once_keep_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def meanwhile(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        assert PrefixStore(tmp_path, 400).put(prefix(1), content(300))
        replace(source, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    assert PrefixStore(tmp_path, 400).put(prefix(0), content(300))
    assert PrefixStore(tmp_path, 400).usage()[1] <= 400


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    store = PrefixStore(blocked / "cache", 1000)
    assert not store.put(prefix(0), content(10))
    assert store.get(prefix(0)) is None and store.files() == [] and store.clear() == (0, 0)
    if Path("/dev/full").exists() and os.geteuid() == 0:
        assert not PrefixStore(Path("/proc/vt-nothing"), 1000).put(prefix(0), content(10))


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path, 1000)
    old, new = tmp_path / "old.part", tmp_path / "new.part"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert store.put(prefix(0), content(10))
    assert not old.exists() and new.exists()
    assert store.clear()[0] == 2 and list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_is_told(files: dict[str, Path], random_checkpoint: Path, tmp_path: Path) -> None:
    request = make_request(random_checkpoint, max_tokens=2)
    for name in ENGINES:
        engine = make(name, files, PrefixStore(tmp_path / name, 100))
        engine.open()
        say(engine, request)
        assert [w for w in engine.warnings if f"not kept: {tmp_path / name} is full" in w]
        say(engine, request)
        assert engine.warnings == ()  # it was in memory
        engine.close()


def test_weights_have_a_fingerprint(random_checkpoint: Path, tmp_path: Path) -> None:
    one = fingerprint(open_checkpoint(random_checkpoint))
    folder = tmp_path / "copy"
    shutil.copytree(random_checkpoint, folder)
    assert fingerprint(open_checkpoint(folder)) == one
    shard = next(folder.glob("model-00001*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert fingerprint(open_checkpoint(folder)) != one
