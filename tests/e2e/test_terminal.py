"""What a person sees: `vt` in a pseudo-terminal. Colours, links, their absence, and Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, ROOT

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)
import pty

TRACE = "Hm. <time>00:02-00:04</time><caption>the red circle moves</caption><think>so</think><answer>left</answer>"
ESCAPE = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-9;?]*[A-Za-z])")


def terminal(
    arguments: list[str], env: Mapping[str, str] | None = None, interrupt_at: bytes | None = None
) -> tuple[int, str, float]:
    """Exit code, what the terminal was sent, and the seconds from Ctrl-C (sent after `interrupt_at`) to the end."""
    main, side = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env=inherited | environment | dict(env or {}),
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(side)
    written, interrupted = b"", 0.0
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([main], [], [], 0.02)[0]:
            try:
                block = os.read(main, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not block:
                break
            written += block
        if interrupt_at is not None and not interrupted and interrupt_at in written:
            os.write(main, b"\x03")
            interrupted = time.monotonic()
    process.wait(timeout=30)
    elapsed = time.monotonic() - interrupted
    os.close(main)
    return process.returncode, written.decode(errors="replace"), elapsed


def _own_terminal() -> None:
    """Makes the pseudo-terminal the child's own, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def trace_file(tmp_path: Path) -> str:
    file = tmp_path / "trace.txt"
    file.write_text(TRACE, encoding="utf-8")
    return str(file)


def test_a_terminal_gets_colours_and_links(trace_file: str, tmp_path: Path) -> None:
    code, text, _ = terminal(["trace", trace_file, "--video", str(tmp_path / "clip.mp4")])
    assert code == 0
    assert "\x1b[" in text
    assert re.search(r"\x1b\]8;[^;]*;file://[^\x1b]*clip\.mp4#t=2\x1b\\", text)
    assert "00:02–00:04" in ESCAPE.sub("", text)
    assert "left" in text


@pytest.mark.parametrize(("env", "flags"), [({"TERM": "dumb"}, []), ({}, ["--color", "never"])])
def test_a_terminal_without_colours_gets_none(trace_file: str, env: dict[str, str], flags: list[str]) -> None:
    code, text, _ = terminal(["trace", trace_file, *flags], env)
    assert code == 0
    assert "\x1b" not in text
    assert "00:02–00:04" in text


def test_no_color_leaves_no_colour(trace_file: str) -> None:
    _, text, _ = terminal(["trace", trace_file], {"NO_COLOR": "1"})
    colours = [code for run in re.findall(r"\x1b\[([0-9;]*)m", text) for code in run.split(";")]
    assert not [code for code in colours if code.isdigit() and 30 <= int(code) <= 107]


def test_ask_shows_trace_and_answer_and_leaves_no_waiting_line(clip: Path, random_checkpoint: Path) -> None:
    pytest.importorskip("torch")
    arguments = ["ask", str(clip), "what?", "-m", str(random_checkpoint), "--max-tokens", "8"]
    code, text, _ = terminal(arguments)
    assert code == 0
    assert "loading" in text
    left = re.sub(r"[^\n]*\r\x1b\[2K", "", text.replace("\r\n", "\n"))
    assert "loading" not in left
    assert "16 frames of" in left
    assert text.endswith("\n")


def test_a_model_folder_cannot_command_the_terminal(clip: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "\x1b]0;title\x07model"
    shutil.copytree(random_checkpoint, folder)
    arguments = ["ask", str(clip), "what?", "-m", str(folder), "--max-tokens", "2", "--color", "never"]
    code, text, _ = terminal(arguments)
    assert code == 0
    assert "16 frames of" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("moment", [b"loading", b"16 frames of"])
def test_ctrl_c_stops_within_a_second_and_leaves_the_terminal_clean(
    clip: Path, random_checkpoint: Path, moment: bytes
) -> None:
    pytest.importorskip("torch")
    arguments = ["ask", str(clip), "what?", "-m", str(random_checkpoint), "--max-tokens", "100000"]
    code, text, seconds = terminal(arguments, interrupt_at=moment)
    assert code == 130
    assert "Traceback" not in text
    assert text.endswith("\x1b[0m\x1b[?25h\r\n")
    assert seconds < 1.0
