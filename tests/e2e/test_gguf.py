"""`vt export`, `vt ask` with what it made, and `vt cache`, as a user runs them: the same weights, the same answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import validate
from vtcli.shapes.demo import write_demo

pytest.importorskip("llama_cpp")
pytest.importorskip("torch")

Vt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The sample clip, and the question about it with its choices as arguments."""
    clip = tmp_path_factory.mktemp("demo") / "clip.mp4"
    question, choices = write_demo(clip)
    return clip, [question, *(word for choice in choices for word in ("-c", choice))]


def record(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_export_and_ask_twice(vt: Vt, demo: tuple[Path, list[str]], vt_home: Path, tmp_path: Path) -> None:
    clip, question = demo
    made = record(vt("export", "tiny", str(tmp_path), "--quant", "f16", "--json"))
    validate(made, "export")
    assert Path(made["text"]["path"]).stat().st_size == made["text"]["bytes"]

    theirs = record(vt("ask", str(clip), *question, "-m", "tiny", "--json", "-q"))
    first = record(vt("ask", str(clip), *question, "-m", made["text"]["path"], "--json", "-q"))
    validate(first, "answer")
    assert (first["model"]["engine"], first["model"]["quant"]) == ("llama-cpp", "F16")
    same = ("answer", "choice", "segments", "text", "sampling", "finish", "format_ok")
    assert {key: first[key] for key in same} == {key: theirs[key] for key in same}
    assert first["usage"] == theirs["usage"] and first["usage"]["cached_tokens"] == 0
    assert any("moving coloured shapes only" in warning for warning in first["warnings"])

    kept = record(vt("cache", "--json"))
    validate(kept, "cache")
    assert kept["files"] == 2 and kept["folder"].startswith(str(vt_home))
    for model in ("tiny", made["text"]["path"]):
        again = record(vt("ask", str(clip), *question, "-m", model, "--json", "-q"))
        assert again["text"] == theirs["text"]
        assert again["usage"]["cached_tokens"] > again["usage"]["video_tokens"]
        alone = record(vt("ask", str(clip), *question, "-m", model, "--json", "-q", "--no-cache"))
        assert (alone["text"], alone["usage"]["cached_tokens"]) == (theirs["text"], 0)
    cleared = record(vt("cache", "clear", "--json"))
    validate(cleared, "cache")
    assert cleared["cleared"] == 2 and record(vt("cache", "--json"))["bytes"] == 0


def test_the_dry_run_of_a_gguf_file_is_that_of_its_checkpoint(
    vt: Vt, demo: tuple[Path, list[str]], tmp_path: Path
) -> None:
    clip, question = demo
    made = record(vt("export", "tiny", str(tmp_path), "--quant", "F16", "--json"))
    plans = [
        record(vt("ask", str(clip), *question, "-m", model, "--dry-run", "--json"))
        for model in ("tiny", made["text"]["path"])
    ]
    for key in ("video", "sampling", "prompt", "layout"):
        assert plans[0][key] == plans[1][key]
    assert plans[1]["memory"]["weights"] == made["text"]["bytes"] + made["projector"]["bytes"]


def test_engines_that_do_not_run_the_model_say_so(vt: Vt, demo: tuple[Path, list[str]], tmp_path: Path) -> None:
    clip, question = demo
    made = record(vt("export", "tiny", str(tmp_path), "--quant", "F16", "--json"))
    for model, engine, says in (
        ("tiny", "llama-cpp", "runs GGUF files: make one with vt export"),
        (made["text"]["path"], "transformers", "does not run GGUF files"),
    ):
        done = vt("ask", str(clip), *question, "-m", model, "--engine", engine)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("size", ["much", f"{'9' * 400} GB", "-1 GB"])
def test_a_size_of_the_cache_that_is_none(vt: Vt, vt_home: Path, size: str) -> None:
    vt_home.mkdir(exist_ok=True)
    (vt_home / "config.toml").write_text(f'cache = "{size}"\n')
    done = vt("cache")
    assert done.returncode == 2 and "cache is a size such as" in done.stderr
