# ruff: noqa: F811  # the fixture `run`
"""`vt history` behind `vt ask` and `vt chat`."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run, run  # noqa: F401  # a fixture
from tests.e2e.conftest import validate

pytest.importorskip("torch")


@pytest.fixture
def asked(run: Run, clip: Path, random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The records of two answers, one of them from a chat."""
    flags = ("-m", str(random_checkpoint), "--max-tokens", "8", "--json")
    monkeypatch.chdir(clip.parent)
    first = run("ask", clip.name, "who\x1b[31m comes?", *flags, "--start", "2")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"who goes?\n\xff\n")))
    second = run("chat", str(clip), *flags)
    return [json.loads(first.out), json.loads(second.out.splitlines()[0])]


def test_answers_are_listed_shown_and_found(run: Run, asked: list[dict[str, object]]) -> None:
    listed = json.loads(run("history", "--json").out)
    validate(listed, "history")
    assert [entry["question"] for entry in listed["entries"]] == ["who\x1b[31m comes?", "who goes?"]
    shown = run("history")
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert [line.split()[0] for line in shown.out.splitlines()] == ["1", "2"]
    assert [json.loads(run("history", "show", number, "--json").out) for number in "12"] == asked
    assert len(run("history", "-n", "9" * 20).out.splitlines()) == 2
    assert len(run("history", "search", "comes", "-n", "9" * 20).out.splitlines()) == 1
    again = run("history", "show")
    assert "who goes?" in again.err
    assert "\x1b" not in again.out + again.err
    found = json.loads(run("history", "search", "COMES?", "--json").out)
    assert [entry["id"] for entry in found["entries"]] == [1]
    cleared = json.loads(run("history", "clear", "--json").out)
    validate(cleared, "history")
    assert cleared["cleared"] == 2
    assert run("history").out == ""


def test_it_can_be_switched_off(run: Run, vt_home: Path, clip: Path, random_checkpoint: Path) -> None:
    vt_home.mkdir()
    (vt_home / "config.toml").write_text('history = "off"')
    done = run("ask", str(clip), "who?", "-m", str(random_checkpoint), "--max-tokens", "4", "-q")
    assert (done.code, done.err) == (0, "")
    assert not (vt_home / "history.db").exists()
    assert "switched off" in run("history").err
    (vt_home / "config.toml").write_text('history = "maybe"')
    assert run("ask", str(clip), "who?", "-m", str(random_checkpoint)).code == 2


def test_an_answer_that_cannot_be_kept_is_given(run: Run, vt_home: Path, clip: Path, random_checkpoint: Path) -> None:
    vt_home.mkdir()
    (vt_home / "history.db").write_bytes(b"x" * 5000)
    done = run("ask", str(clip), "who?", "-m", str(random_checkpoint), "--max-tokens", "4", "--json")
    assert done.code == 0
    assert json.loads(done.out)["error"] is None
    assert "this answer is not kept" in done.err.splitlines()[-1]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a working folder from being removed")
def test_a_removed_working_folder_neither_fails_nor_ends_a_chat(
    run: Run, clip: Path, random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"who?\nwhat?\n")))
    done = run("chat", str(clip), "-m", str(random_checkpoint), "--max-tokens", "4", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2
    listed = json.loads(run("history", "--json").out)
    validate(listed, "history")
    assert [(entry["question"], entry["folder"]) for entry in listed["entries"]] == [("who?", ""), ("what?", "")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show",), 1, "is empty"),
        (("show", "7"), 1, "no answer 7"),
        (("show", "x"), 2, "takes one number"),
        (("show", "1", "2"), 2, "takes one number"),
        (("show", "9" * 40), 2, "takes one number"),
        (("search",), 2, "give the words to find"),
        (("list", "x"), 2, "takes no words"),
        (("clear", "x"), 2, "takes no words"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run("history", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
