"""What a run shows while it goes on, where nothing is a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from vtcli.cli.progress import Counter


def test_plain_lines_come_now_and_then_and_failures_at_once() -> None:
    clock = [0.0]
    console = Console(file=io.StringIO(), width=60)
    with Counter(console, total=100, done=10, now=lambda: clock[0]) as counter:
        for number in range(90):
            clock[0] += 2.0
            counter.one("a\x1b.mp4", "it is broken" if number in (4, 5) else None)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said[0] == "vt: warning: 'a\\x1b.mp4': it is broken"
    assert said[1] == "25 of 100 · 2 failed · 2.0 s each · 02:30 left"
    assert len(said) == 1 + 5
    assert not any(character in line for line in said for character in "\x1b\r")


def test_quiet_says_nothing() -> None:
    console = Console(file=io.StringIO())
    with Counter(console, total=2, done=0, quiet=True) as counter:
        counter.warn("no")
        counter.one("a.mp4", "no")
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
