# ruff: noqa: F811  # the fixture `run`
"""`vt chat`: questions from a pipe and at a terminal, stopped, saved, with and without what was said before."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Run, run  # noqa: F401  # a fixture
from tests.e2e.conftest import COMMAND, ROOT, validate
from vtcli.ask import Question
from vtcli.batch.items import Item, settings_of
from vtcli.chat import Chat
from vtcli.engines.base import SamplingOptions
from vtcli.errors import UsageError
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import Prompt, build_prompt
from vtcli.trace.parser import Event

pytest.importorskip("torch")

SHORT = ("--max-tokens", "24", "--temperature", "0")


@pytest.fixture
def talk(run: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `vt chat` with these lines on standard input."""

    def call(lines: bytes, *arguments: str) -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
        return run("chat", *arguments)

    return call


def test_a_pipe_gets_the_answers_of_ask_and_the_video_is_encoded_once(
    talk: Any, run: Run, clip: Path, random_checkpoint: Path
) -> None:
    flags = (str(clip), "-m", str(random_checkpoint), *SHORT, "--no-cache")
    done = talk("what moves?\n\n  wo ist das Tor? ⚽\r\nwhat moves?\n".encode(), *flags, "--json")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["turn"] for record in records] == [1, 2, 3]
    for record in records:
        validate(record, "answer")
    assert [record["usage"]["cached_tokens"] > 0 for record in records] == [False, True, True]
    assert [record["timing"]["read"] > 0 for record in records] == [True, False, False]
    assert records[0]["text"] == records[2]["text"]
    alone = json.loads(run("ask", str(clip), "  wo ist das Tor? ⚽", *flags[1:], "--json").out)
    for field in ("question", "text", "answer", "segments", "sampling"):
        assert records[1][field] == alone[field]
    assert records[1]["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]


def test_a_question_that_fails_is_told_and_the_next_is_answered(talk: Any, clip: Path, random_checkpoint: Path) -> None:
    flags = (str(clip), "-m", str(random_checkpoint), *SHORT)
    done = talk(b"\xff\n/none\nwhat?", *flags, "--json", "-q")
    assert done.code == 1
    failed, answered = map(json.loads, done.out.splitlines())
    validate(failed | {"id": "x", "settings": settings_of(Item("x", Question(clip, "", "")), "", "", "")}, "line")
    assert (failed["error"]["type"], answered["error"], answered["turn"]) == ("UsageError", None, 2)
    assert [line[:10] for line in done.err.splitlines()] == ["vt: error:", "vt: error:"]


def test_turn_counts_the_questions_that_failed_too(talk: Any, clip: Path, random_checkpoint: Path) -> None:
    done = talk(b"a\n\xff\nb\n", str(clip), "-m", str(random_checkpoint), *SHORT, "--json", "-q")
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [(record["turn"], record["error"] is None) for record in records] == [(1, True), (2, False), (3, True)]


def test_a_byte_order_mark_is_no_part_of_the_first_question(talk: Any, clip: Path, random_checkpoint: Path) -> None:
    done = talk(b"\xef\xbb\xbfwhat?\n", str(clip), "-m", str(random_checkpoint), *SHORT, "--json", "-q")
    assert json.loads(done.out)["question"] == "what?"
    done = talk(b"\xef\xbb\xbf/none\n", str(clip), "-m", str(random_checkpoint), *SHORT, "--json", "-q")
    assert (done.code, done.out) == (0, "")
    assert "no such command" in done.err


@pytest.mark.parametrize("name", ["a\0b", "~a\0b"])
def test_a_name_no_file_can_have_does_not_end_the_chat(
    talk: Any, clip: Path, random_checkpoint: Path, name: str
) -> None:
    lines = f"/save {name}\nwhat?\n".encode()
    done = talk(lines, str(clip), "-m", str(random_checkpoint), *SHORT, "--json", "-q")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert "cannot be written: embedded null byte" in done.err
    assert len(done.err.splitlines()) == 1


def test_history_sends_what_was_said(talk: Any, clip: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"
    flags = (str(clip), "-m", str(random_checkpoint), *SHORT, "-q")
    lines = f"what?\nwhat?\n/history\nwhat?\n/save {saved}\n/save {saved}\n/quit\nwhat?\n"
    done = talk(lines.encode(), *flags)
    assert "File exists" in done.err
    records = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    assert len(records) == 3  # nothing after /quit
    first, second, third = (record["usage"] for record in records)
    alone = build_prompt("what?")
    said = (records[0]["text"], alone.user, records[1]["text"], alone.user)
    tokenizer = Tokenizer(random_checkpoint)
    for usage, prompt in ((first, alone), (second, alone), (third, Prompt(alone.system, alone.user, said))):
        text, ids = tokenizer.encode_prompt(prompt)
        assert usage["prompt_tokens"] == len(ids) - 1 + usage["video_tokens"]
    assert text.count("<|im_start|>assistant") == 3
    assert third["cached_tokens"] == second["cached_tokens"] > 0


class Interrupting:
    """A listener that presses Ctrl-C at an event."""

    def __init__(self, at: int) -> None:
        self._left = at

    def planned(self, plan: object) -> None: ...

    def generating(self, engine: object, frames: object) -> None:
        self._press()

    def event(self, event: Event) -> None:
        self._press()

    def _press(self) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1


def test_a_reply_that_was_stopped_leaves_no_trace(clip: Path, random_checkpoint: Path) -> None:
    asked = Question(clip, "", random_checkpoint, sampling=SamplingOptions(max_tokens=24, temperature=0))
    with Chat(asked, history=True) as chat, Chat(asked, history=True) as other:
        for at in (0, 1, 2):
            with pytest.raises(KeyboardInterrupt):
                chat.ask("what moves?", Interrupting(at))
        with pytest.raises(UsageError, match="empty"):
            chat.ask(" ")
        for text in ("who?", "where?"):
            assert chat.ask(text)["text"] == other.ask(text)["text"]
            with pytest.raises(KeyboardInterrupt):
                chat.ask("what moves?", Interrupting(3))
        assert [record["turn"] for record in chat.records] == [2, 3]  # the empty question was the first


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("-",), 2, "name the video"),
        (("none.mp4",), 1, "no such file"),
        (("none.mp4", "-c", "x"), 2, "one choice only"),
        (("none.mp4", "--engine", "openai"), 1, "is not in this version"),
    ],
)
def test_what_cannot_begin_is_one_line(talk: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = talk(b"what?\n", *arguments, "-m", "tiny")
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_at_a_terminal_ctrl_c_stops_a_reply_and_ctrl_d_ends(tiny: str, demo_clip: tuple[Path, str, list[str]]) -> None:
    with Terminal(["chat", str(demo_clip[0]), "-m", tiny, "--temperature", "0", "--color", "never"]) as terminal:
        terminal.until("Ctrl-D ends")
        terminal.until("> ")
        terminal.send("half a question")
        terminal.until("half a question")
        terminal.press("\x03", "> ")
        terminal.send("what happens first?\n")
        terminal.until("16 frames of")
        terminal.until("At first")  # the reply has begun
        terminal.send("\x03")
        terminal.until("stopped")
        terminal.until("> ")
        terminal.send("/frames\n")
        terminal.until("16 frames of 112×112 at 00:00 ")
        terminal.send("what happens first?\n")
        terminal.until("In order")
        terminal.until("> ")
        terminal.send("\x04")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.text


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_ends_a_pipe(clip: Path, random_checkpoint: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", str(clip), "-m", str(random_checkpoint), *SHORT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"what?\n")
    process.stdin.flush()
    assert process.stdout.readline()  # an answer comes before the pipe ends
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    process.communicate()


class Terminal:
    """`vt` in a pseudo-terminal that is typed into."""

    def __init__(self, arguments: list[str]) -> None:
        import pty

        from tests.e2e.test_terminal import _own_terminal

        self.text = ""
        self._read = 0
        self._main, side = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=side,
            stdout=side,
            stderr=side,
            env=environment,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(side)

    def send(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def until(self, words: str) -> None:
        """Waits for `words` behind what was waited for before."""
        deadline = time.monotonic() + 60
        while (at := self.text.find(words, self._read)) < 0:
            assert time.monotonic() < deadline, f"{words!r} does not come: {self.text[self._read :]!r}"
            self._take()
        self._read = at + len(words)

    def press(self, key: str, words: str) -> None:
        """Presses `key`, again every two seconds, until `words` come.

        Python's readline sleeps on where a signal comes just before it begins to wait, until the next key is pressed.
        """
        for _ in range(30):
            self.send(key)
            pause = time.monotonic() + 2
            while time.monotonic() < pause:
                if self.text.find(words, self._read) >= 0:
                    self.until(words)
                    return
                self._take()
        raise AssertionError(f"{words!r} does not come: {self.text[self._read :]!r}")

    def end(self) -> int:
        while self._process.poll() is None:
            self._take()
        return self._process.returncode

    def _take(self) -> None:
        if select.select([self._main], [], [], 0.05)[0]:
            try:
                self.text += os.read(self._main, 1 << 16).decode(errors="replace")
            except OSError:  # how Linux says that the other end is closed
                self._process.wait(timeout=30)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._main)
