"""What a trace adds up to, on the paper's traces and on broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vtcli.trace.model import Segment, parse_trace
from vtcli.trace.parser import parse_events


def test_the_papers_traces(material: Path) -> None:
    lines = (material / "traces" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    for row in map(json.loads, lines):
        events = parse_events(row["output"])
        trace = parse_trace(row["output"])
        assert sum(e.kind == "time" for e in events) == row["n_time"]
        assert sum(e.kind == "caption" and e.opens for e in events) == row["n_caption"]
        assert sum(e.kind == "think" and e.opens for e in events) == row["n_think"]
        assert not any(e.cut for e in events)
        assert trace.answer == row["answer"]
        assert trace.text == row["output"]
        assert len(trace.segments) == row["n_time"]
        assert all(s.start is not None and s.caption and s.think for s in trace.segments)
        assert trace.format_ok == (row["n_time"] > 0)
        assert trace.reasoning or row["id"] == "fig4_qwen"


def test_every_prefix_of_a_trace_is_a_trace(material: Path) -> None:
    """Text cut at the token limit: what is complete stays as it is."""
    for line in (material / "traces" / "traces.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["output"]
        whole = parse_trace(text)
        for end in range(0, len(text), 5):
            part = parse_trace(text[:end])
            assert part.text == text[:end]
            assert part.segments[:-1] == whole.segments[: len(part.segments)][:-1]


def test_segments() -> None:
    trace = parse_trace(
        "Let me see. <time>00:00-00:10</time> <caption> a </caption>\n<think>b</think> Hmm "
        "<time>0:00:10-0:00:20.5</time><caption>c</caption> so <think>d</think><think>e</think> The end."
    )
    assert trace.segments == (Segment(0, 10, "a", "b"), Segment(10, 20.5, "c", "d\ne"))
    assert trace.reasoning == "Let me see.\nHmm\nso\nThe end."
    assert trace.answer == ""


def test_a_think_without_time_is_reasoning() -> None:
    trace = parse_trace("<think>It is B.</think> <answer>B</answer>")
    assert (trace.segments, trace.reasoning, trace.answer) == ((), "It is B.", "B")


def test_a_trace_wrapped_in_think() -> None:
    trace = parse_trace(
        "<think>Look: <time>0-5s</time><caption>a</caption> then it ends.</think><answer>\nC\n</answer>"
    )
    assert trace.segments == (Segment(0, 5, "a", ""),)
    assert trace.reasoning == "Look:\nthen it ends."
    assert trace.answer == "C"


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("<time>00:15-00:30</time>", (Segment(15, 30, "", ""),)),
        ("<time>00:15-00:30</time> <caption>a ma", (Segment(15, 30, "a ma", ""),)),
        ("<time>00:15-00:30</time><caption>a</cap", (Segment(15, 30, "a", ""),)),
        ("<caption>a</caption><think>b</think>", (Segment(None, None, "a", "b"),)),
        ("<time>at first</time><caption>a</caption>", (Segment(None, None, "a", ""),)),
        ("within `<time> </time>`, `<caption> </caption>`, `<think> </think>` tags", ()),
        ("", ()),
    ],
)
def test_incomplete_segments(text: str, segments: tuple[Segment, ...]) -> None:
    assert parse_trace(text).segments == segments


def test_a_time_that_is_none_is_kept_as_text() -> None:
    assert parse_trace("<time>at first</time><caption>a</caption>").reasoning == "at first"
    assert parse_trace("<time>" + "x" * 80 + "</time>").reasoning == "x" * 80


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>C</answer>", "C"),
        ("<answer></answer>", ""),
        ("<answer>B</answer> wait <answer> C </answer>", "C"),
        ("<answer>B</answer><answer></answer>", "B"),
        ("<answer>B</answer><answer>C", "B"),
        ("<answer>because he le", "because he le"),
        ("<answer>C</answ", "C"),
        ("<Answer> [C]", "[C]"),
        ("`<answer> </answer>` tags: <answer>C</answer>", "C"),
        ("<think>so <answer>C</answer>", "C"),
        ("<answer>at <time>00:02-00:04</time></answer>", "at 00:02-00:04"),
        ("<think>The answer is C</think>", ""),
        ("C", "C"),
        (" He left because of the ball.\n", "He left because of the ball."),
        ("", ""),
    ],
)
def test_answer(text: str, answer: str) -> None:
    assert parse_trace(text).answer == answer
