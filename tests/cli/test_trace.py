"""`vt trace`: what goes to which stream, the JSON contract, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from vtcli.cli.trace import trace

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "trace.schema.json").read_text(encoding="utf-8"))
TEXT = (
    "Let me look. <time>00:02-00:04</time> <caption>A circle leaves.</caption> <think>It was pushed.</think> "
    "The answer is C. <answer>C</answer>"
)
CHOICES = ["-c", "left", "-c", "right", "-c", "out of the frame"]

app = typer.Typer()
app.command()(trace)


def run(*arguments: str, text: str | bytes = TEXT) -> Any:
    """The command in this process; stdin holds `text`."""
    return CliRunner().invoke(app, list(arguments), input=text)


def vt(*arguments: str, text: str | bytes = TEXT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in its own process, through the entry point that prints errors."""
    done = subprocess.run(
        [sys.executable, "-m", "vtcli", "trace", *arguments],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def record(*arguments: str, text: str | bytes = TEXT) -> dict[str, Any]:
    result = run("--json", *arguments, text=text)
    assert result.exit_code == 0 and result.stderr == ""
    value = json.loads(result.stdout)
    jsonschema.validate(value, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert result.stdout.count("\n") == 1
    return dict(value)


def test_the_answer_on_stdout_the_trace_on_stderr() -> None:
    result = run()
    assert result.exit_code == 0
    assert result.stdout == "C\n"
    assert result.stderr.splitlines() == [
        "Let me look.",
        "00:02–00:04  A circle leaves.",
        "             It was pushed.",
        "The answer is C.",
    ]


def test_json() -> None:
    assert record() == {
        "schema": "vt.trace/1",
        "segments": [{"start": 2.0, "end": 4.0, "caption": "A circle leaves.", "think": "It was pushed."}],
        "reasoning": "Let me look.\nThe answer is C.",
        "answer": "C",
        "choice": None,
        "format_ok": True,
    }
    assert list(record()) == ["schema", "segments", "reasoning", "answer", "choice", "format_ok"]


def test_choices() -> None:
    assert record(*CHOICES) | {"segments": []} == {
        "schema": "vt.trace/1",
        "segments": [],
        "reasoning": "Let me look.\nThe answer is C.",
        "answer": "out of the frame",
        "choice": "C",
        "format_ok": True,
    }
    assert record(*CHOICES, text="<answer>up</answer>") | {"reasoning": ""} == {
        "schema": "vt.trace/1",
        "segments": [],
        "reasoning": "",
        "answer": "up",
        "choice": None,
        "format_ok": False,
    }
    assert run(*CHOICES).stdout == "out of the frame\n"
    assert run(*CHOICES, text="<answer>up</answer>").stderr == "vt: warning: the answer names none of the choices\n"


@pytest.mark.parametrize(
    "text", ["", "C", "<time>x</time><caption>a", "<answer></answer>", "\ufeff<answer>C</answer>", "<answer>\x9b\u202e"]
)
def test_any_text_gives_a_valid_record(text: str) -> None:
    record(text=text)


def test_a_missing_answer_is_said() -> None:
    result = run(text="<think>hm")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "hm\nvt: warning: the text holds no answer\n")


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "raw é.txt"
    file.write_text(TEXT, encoding="utf-8")
    assert run(str(file)).stdout == "C\n"
    assert record(str(file))["answer"] == "C"
    assert run("-").stdout == "C\n"


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert record(text=b"<answer>caf\xe9</answer>")["answer"] == "caf\ufffd"
    assert record(text="\ufeff<answer>é</answer>")["answer"] == "é"


def test_no_escape_sequence_from_the_text() -> None:
    hostile = "\x1b[2J\x9b31m <caption>\x1b]0;x\x07</caption> <answer>\x1b[31mC\x9b</answer>"
    result = run(text=hostile)
    assert not set(result.stdout + result.stderr) & set("\x1b\x07\x9b")
    result = run("--json", text=hostile)
    assert not set(result.stdout) & set("\x1b\x07\x9b")
    assert json.loads(result.stdout)["answer"] == "\x1b[31mC\x9b"


def test_colours_and_links_when_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = run("--color", "always", "--video", "clip.mp4")
    assert "clip.mp4#t=2\x1b\\" in coloured.stderr and coloured.stdout == "C\n"
    assert "\x1b" not in run("--video", "clip.mp4").stderr


def test_the_flag_goes_before_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    cyan = "\x1b[1;36m"
    assert cyan in run("--color", "always").stderr
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cyan not in run().stderr


@pytest.mark.parametrize(
    ("arguments", "text", "status", "message"),
    [
        (["no-such.txt"], "", 1, "no such file: 'no-such.txt'"),
        (["."], "", 1, "'.' is a folder: give the file that holds the text"),
        ([], b"ab\0c", 1, "standard input is not text: give the raw text a model wrote, in UTF-8"),
        (["-c", "one"], TEXT, 2, "one choice only: give at least two, or none for an open question"),
        (["-c", "one", "-c", " "], TEXT, 2, "a choice is empty: give each --choice a text"),
        (["--color", "blue"], TEXT, 2, ""),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], text: str | bytes, status: int, message: str) -> None:
    done = vt(*arguments, text=text)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vt: error: ")
    assert not message or done.stderr == f"vt: error: {message}\n"


def test_a_video_is_not_text(material: Path) -> None:
    done = vt(str(material / "videos" / "moviepy" / "chaplin.mp4"))
    assert done.returncode == 1 and "is not text" in done.stderr


def test_the_installed_command_in_any_locale() -> None:
    text = "<answer>\N{CLAPPER BOARD} é</answer>"
    assert vt(text=text).stdout == "\N{CLAPPER BOARD} é\n"
    done = vt("--json", text=text, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["answer"] == "\N{CLAPPER BOARD} é"
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="closes streams as POSIX shells do")
@pytest.mark.parametrize(
    ("shell", "status", "out", "err"),
    [
        ('"$@" </dev/null >&-', 0, "", "vt: warning: the text holds no answer\n"),
        ('"$@" --json </dev/null >&-', 0, "", ""),
        ('"$@" <&-', 0, "", "vt: warning: the text holds no answer\n"),
        ('"$@" gone.txt 2>&-', 1, "", ""),
        ('echo C | "$@" --json 2>&-', 0, '"answer": "C"', ""),
    ],
)
def test_closed_streams(shell: str, status: int, out: str, err: str) -> None:
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "vtcli", "trace"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (status, err)
    assert out in done.stdout and bool(out) == bool(done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "vtcli", "trace", "--json"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (1, b"vt: error: input or output: No space left on device\n")


def test_the_trace_is_shown_while_the_text_arrives() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vtcli", "trace"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )
    assert process.stdin and process.stderr
    process.stdin.write(b"Let me look.\n<time>00:02-00:04</time><caption>A")
    process.stdin.flush()
    assert process.stderr.readline().decode().strip() == "Let me look."  # while stdin is still open
    process.communicate(b" circle</caption>")
    assert process.returncode == 0
