"""Every bad input: one line on stderr, nothing on stdout, exit code 1 or 2, and no torch loaded to say so."""

from __future__ import annotations

import json
import platform
import shutil
from importlib import util
from pathlib import Path

import av
import pytest

from tests.cli.conftest import Run

pytest.importorskip("tokenizers")


@pytest.fixture
def model(random_checkpoint: Path) -> str:
    return str(random_checkpoint)


def fails(run: Run, *arguments: str, code: int, says: str) -> None:
    done = run(*arguments)
    assert done.out == ""
    assert done.err.startswith("vt: error: ")
    assert done.err.count("\n") == 1, done.err
    assert says in done.err
    assert done.code == code


def test_no_such_file(run: Run, model: str, tmp_path: Path) -> None:
    fails(run, "ask", str(tmp_path / "gone.mp4"), "why?", "-m", model, code=1, says="no such file")


def test_a_folder(run: Run, model: str, tmp_path: Path) -> None:
    fails(run, "ask", str(tmp_path), "why?", "-m", model, code=1, says="is a folder")


def test_an_empty_file(run: Run, model: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.mp4"
    file.touch()
    fails(run, "ask", str(file), "why?", "-m", model, code=1, says="is empty")


def test_not_a_video(run: Run, model: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.mp4"
    file.write_text("remember the milk\n" * 100)
    fails(run, "ask", str(file), "why?", "-m", model, code=1, says="not a video")


def test_sound_only(run: Run, model: str, sound: Path) -> None:
    fails(run, "ask", str(sound), "why?", "-m", model, code=1, says="only sound")


def test_a_file_name_cannot_command_the_terminal(run: Run, model: str) -> None:
    done = run("ask", "gone\x1b[31m\nred.mp4", "why?", "-m", model)
    assert done.code == 1
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


def test_a_truncated_file_is_answered_from_what_is_there(run: Run, model: str, clip: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    with av.open(str(clip)) as source, av.open(str(whole), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    done = run("ask", str(cut), "why?", "-m", model, "--max-tokens", "4")
    assert done.code == 0, done.err
    assert "vt: warning: video ends early" in done.err


def test_a_model_folder_without_weights(run: Run, model: str, clip: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.json"):
        (tmp_path / name).write_bytes((Path(model) / name).read_bytes())
    fails(run, "ask", str(clip), "why?", "-m", str(tmp_path), code=1, says="holds no weights")


def test_a_model_of_another_architecture(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    fails(run, "ask", str(clip), "why?", "-m", str(tmp_path), code=1, says="llama")


def test_a_model_whose_tokenizer_lacks_the_video(run: Run, model: str, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other-token"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"video_token_id": 3}))
    fails(run, "ask", str(clip), "why?", "-m", str(folder), code=1, says="place the video 0 times, not once")


def test_a_model_larger_than_the_memory(run: Run, model: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before loading, with what would fit."""
    engine = pytest.importorskip("vtcli.engines.transformers")
    pytest.importorskip("torch")

    def loaded(*_: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(engine, "load_model", loaded)
    monkeypatch.setattr(engine, "free_memory", lambda device, weights: 1000)
    says = "GB on cpu (weights 0.0, keys and values 0.0, vision 0.0) and 0.0 GB are free: no number of frames would fit"
    fails(run, "ask", str(clip), "why?", "-m", model, code=1, says=says)


def test_no_such_model(run: Run, clip: Path) -> None:
    fails(run, "ask", str(clip), "why?", "-m", "no/such/model", code=1, says="no such model")


def test_a_model_name_the_system_refuses(run: Run, clip: Path) -> None:
    fails(run, "ask", str(clip), "why?", "-m", "x" * 300, code=1, says="x" * 300)
    assert "internal" not in run("ask", str(clip), "why?", "-m", "x" * 300).err


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_reader_that_is_not_there(run: Run, model: str, clip: Path, reader: str, dry: tuple[str, ...]) -> None:
    if util.find_spec(reader) is not None:
        pytest.skip(f"{reader} is installed")
    command = ("ask", str(clip), "why?", "-m", model, "--reader", reader, *dry)
    fails(run, *command, code=1, says=f"--reader {reader}")
    if reader == "torchcodec" or platform.machine() in ("x86_64", "AMD64"):
        fails(run, *command, code=1, says=f"[{reader}]")  # in the command that installs it


def test_no_model_at_all(run: Run, clip: Path) -> None:
    fails(run, "ask", str(clip), "why?", code=1, says="-m DIR")


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question(run: Run, model: str, clip: Path, question: str) -> None:
    fails(run, "ask", str(clip), question, "-m", model, code=2, says="question is empty")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--frames", "0"), "--frames"),
        (("--frames", "-4"), "--frames"),
        (("--frames", "many"), "--frames"),
        (("--fps", "0"), "--fps"),
        (("--fps", "nan"), "--fps"),
        (("--frames", "8", "--fps", "1"), "--fps"),
        (("--max-pixels", "0"), "--max-pixels"),
        (("--start", "9"), "beyond the end"),
        (("--start", "1:70"), "not a time"),
        (("--start", "5", "--end", "3"), "--end"),
        (("-c", "yes"), "one choice only"),
        (("-c", "yes", "-c", ""), "choice is empty"),
        (("--max-tokens", "0"), "--max-tokens"),
        (("--temperature", "-1"), "--temperature"),
        (("--top-p", "2"), "--top-p"),
        (("--seed", "-1"), "--seed"),
        (("--device", "abacus"), "--device"),
        (("--bogus",), "--bogus"),
    ],
)
def test_flags_that_cannot_mean_anything(run: Run, model: str, clip: Path, flags: tuple[str, ...], says: str) -> None:
    fails(run, "ask", str(clip), "why?", "-m", model, *flags, code=2, says=says)


@pytest.mark.parametrize("arguments", [(), ("clip.mp4",), ("clip.mp4", "why?", "and?")])
def test_too_few_or_too_many_arguments(run: Run, arguments: tuple[str, ...]) -> None:
    fails(run, "ask", *arguments, code=2, says="vt ask --help")
