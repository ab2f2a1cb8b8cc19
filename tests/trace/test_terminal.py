"""The renderer on real Rich consoles: wrapped, linked, plain where it must be, and never commanded by model text."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from vtcli.trace.parser import TraceParser
from vtcli.trace.terminal import TraceRenderer, links_shown

OSC_8 = re.compile(r"\x1b\]8;[^\x1b]*\x1b\\")
SGR = re.compile(r"\x1b\[[0-9;]*m")
TRACE = (
    "Let me look. <time>00:02-00:04</time> <caption>The red circle moves left and leaves the frame.</caption> "
    "<think>So it was pushed by the square.</think> Now the answer. <answer>C</answer>"
)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("VT_LINK", raising=False)


def show(
    text: str, width: int = 40, tty: bool = True, size: int = 1, video: str | None = None, answer: bool = False
) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=tty, width=width, color_system="truecolor" if tty else None)
    parser, renderer = TraceParser(), TraceRenderer(console, video, answer=answer)
    for start in range(0, len(text), size):
        for event in parser.feed(text[start : start + size]):
            renderer.event(event)
    for event in parser.close():
        renderer.event(event)
    renderer.close()
    return out.getvalue()


def plain(output: str) -> str:
    return SGR.sub("", OSC_8.sub("", output))


def test_a_trace_is_wrapped_with_a_hanging_indent() -> None:
    assert plain(show(TRACE)).splitlines() == [
        "Let me look.",
        "00:02–00:04  The red circle moves left",
        "             and leaves the frame.",
        "             So it was pushed by the",
        "             square.",
        "Now the answer.",
    ]


def test_a_file_gets_plain_unwrapped_lines() -> None:
    output = show(TRACE, tty=False, video="clip.mp4")
    assert "\x1b" not in output
    assert output.splitlines() == [
        "Let me look.",
        "00:02–00:04  The red circle moves left and leaves the frame.",
        "             So it was pushed by the square.",
        "Now the answer.",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("tty", [True, False])
def test_the_split_of_the_stream_does_not_show(size: int, tty: bool) -> None:
    assert plain(show(TRACE, size=size, tty=tty)) == plain(show(TRACE, size=5, tty=tty))


def test_words_appear_as_they_are_written() -> None:
    out = io.StringIO()
    parser = TraceParser()
    renderer = TraceRenderer(Console(file=out, force_terminal=True, width=40))
    for event in parser.feed("<time>00:02-00:04</time><caption>The red cir"):
        renderer.event(event)
    assert plain(out.getvalue()) == "00:02–00:04  The red"


def test_times_are_links() -> None:
    output = show(TRACE, video="clip.mp4")
    link = re.search(r"\x1b\]8;id=\d+;(.*?)\x1b\\(.*?)\x1b\]8;;\x1b\\", output)
    assert link is not None
    assert re.fullmatch(r"file://.*/clip\.mp4#t=2", link[1])
    assert SGR.sub("", link[2]) == "00:02–00:04"
    assert "\x1b]8" not in show(TRACE)


@pytest.mark.parametrize("name", ["dumb", "linux"])
def test_no_links_where_they_would_be_garbage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", name)
    assert not links_shown(Console(force_terminal=True))
    assert "\x1b]8" not in show(TRACE, video="clip.mp4")


def test_links_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VT_LINK", "")
    assert "\x1b]8" not in show(TRACE, video="clip.mp4")


def test_the_windows_start_is_added() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, color_system="truecolor")
    parser, renderer = TraceParser(), TraceRenderer(console, "clip.mp4", offset=60.5)
    for event in parser.feed("<time>00:02-00:04</time>") + parser.close():
        renderer.event(event)
    renderer.close()
    assert plain(out.getvalue()) == "01:02.5–01:04.5\n"
    assert "#t=62.5\x1b" in out.getvalue()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        (" \n ", []),
        ("<time>at first</time><caption>a</caption>", ["at first  a"]),
        ("<time> </time><caption> </caption>", []),
        ("<time>00:12</time><think>b</think>", ["00:12", "       b"]),
        ("<think>a\n\nb</think>", ["a", "b"]),
        ("<caption>a</caption><caption>b</caption>", ["a", "b"]),
        ("[bold]x[/bold] :smile: [link=http://a]y[/]", ["[bold]x[/bold] :smile: [link=http://a]y[/]"]),
        ("<answer>C</answer>", []),
        ("a<time>0-1</time>\u4e2d\u6587", ["a", "00:00–00:01", "\u4e2d\u6587"]),
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    assert plain(show(text, width=60)).splitlines() == lines
    assert show(text, width=60, tty=False).splitlines() == lines


def test_the_answer_if_asked() -> None:
    assert plain(show("So. <answer>because it\nleft</answer>", answer=True)).splitlines() == [
        "So.",
        "answer  because it",
        "        left",
    ]


wide = st.text(st.sampled_from("ab \n中文。é\u0301\u200d👩👧🎬ﾊ한<>"), max_size=120)


@settings(max_examples=150, deadline=None)
@given(wide, st.integers(20, 50), st.integers(1, 9))
def test_no_line_is_wider_than_the_terminal_and_no_character_is_lost(text: str, width: int, size: int) -> None:
    text = f"<time>00:02-00:04</time><caption>{text}</caption>"
    output = plain(show(text, width=width, size=size))
    assert all(cell_len(line) <= max(width, 21) for line in output.splitlines())
    content = text.removeprefix("<time>00:02-00:04</time><caption>").removesuffix("</caption>")
    assert "".join(output.split()) == "00:02–00:04" + "".join(content.split())


def test_wide_characters_are_counted_as_two_columns() -> None:
    assert plain(show("中" * 25, width=20)).splitlines() == ["中" * 10, "中" * 10, "中" * 5]


def test_a_word_longer_than_a_line_is_broken() -> None:
    assert plain(show("<think>" + "x" * 50, width=20)).splitlines() == ["x" * 20, "x" * 20, "x" * 10]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=()), max_size=6)
        | st.sampled_from(
            [
                "\x1b[2J",
                "\x1b]8;;http://evil\x1b\\",
                "\x9b31m",
                "\r",
                "\x07",
                "\u202e",
                "<time>",
                "</time>",
                "<caption>",
            ]
        ),
        max_size=20,
    ).map("".join),
    st.integers(1, 5),
)
def test_model_text_emits_no_escape_sequence(text: str, size: int) -> None:
    output = plain(show(text, size=size, video="clip.mp4"))  # without the renderer's own sequences
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", show(text, size=size, tty=False))


@pytest.mark.parametrize("text", ["x" * 1_000_000, "x " * 60_000, "中" * 100_000, "<time>0-1</time>" * 2000])
@pytest.mark.parametrize("tty", [True, False])
def test_hostile_text_takes_linear_time(text: str, tty: bool) -> None:
    began = time.process_time()
    show(text, size=4096, tty=tty)
    assert time.process_time() - began < 30


def test_the_papers_traces_fit_and_are_shown_whole(material: Path) -> None:
    for line in (material / "traces" / "traces.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["output"]
        output = plain(show(text, width=72, size=4))
        assert all(cell_len(line) <= 72 for line in output.splitlines())
        shown = re.sub(r"<answer>.*?</answer>|</?(caption|think)>", "", text, flags=re.DOTALL)
        shown = re.sub(r"<time>(\S+)-(\S+)</time>", "\\1\u2013\\2", shown)
        shown = shown.replace("<time>0.0-5.0 seconds</time>", "00:00\u201300:05")
        assert "".join(output.split()) == "".join(shown.split())
