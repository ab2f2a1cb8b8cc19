"""The incremental parser: no character lost, no split that matters, nothing held that could be shown."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.trace.model import build_trace
from vtcli.trace.parser import Event, TraceParser, parse_events

TAGS = [
    f"<{slash}{name}>"
    for name in ("time", "caption", "think", "thinking", "answer", "t", "TIME", "Think", "ANSWER", "obj")
    for slash in ("", "/")
]
soups = st.lists(
    st.one_of(
        st.sampled_from(TAGS),
        st.sampled_from(["00:00-00:10", "0.0-5.0 seconds", " ", "\n", "<", "</", "<ti", "\u017f", "K", "x" * 70]),
        st.text(max_size=8),
    ),
    max_size=30,
).map("".join)


def feed(pieces: list[str]) -> list[Event]:
    parser = TraceParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


def cut(text: str, places: list[int]) -> list[str]:
    marks = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(marks)]


def merged(events: list[Event]) -> list[Event]:
    """The events with neighbouring pieces of content joined: what must not depend on the split."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if last and last.kind == event.kind and last.raw == last.text and event.raw == event.text and event.raw:
            result[-1] = Event(event.kind, last.raw + event.raw, last.text + event.text)
        else:
            result.append(event)
    return result


@given(soups, st.lists(st.integers(0, 400)))
def test_no_character_is_lost_and_no_split_matters(text: str, places: list[int]) -> None:
    whole = parse_events(text)
    pieces = feed(cut(text, places))
    letters = feed(list(text))
    assert "".join(event.raw for event in whole) == text
    assert "".join(event.raw for event in pieces) == text
    assert merged(pieces) == merged(whole) == merged(letters)
    assert build_trace(pieces) == build_trace(whole)


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_unicode_is_kept(text: str) -> None:
    assert "".join(event.raw for event in feed(list(text))) == text


@given(soups)
def test_elements_open_before_their_text_and_close_once(text: str) -> None:
    kind = "text"
    for event in parse_events(text):
        if event.kind == "time":
            assert kind == "text" and event.opens and event.closes
            continue
        if event.opens:
            assert kind == "text"
            kind = event.kind
        assert event.kind == kind
        if event.closes:
            kind = "text"
    assert kind == "text"


def test_content_is_shown_as_it_arrives() -> None:
    parser = TraceParser()
    assert [e.text for e in parser.feed("<caption>A red ")] == ["", "A red "]
    assert [e.text for e in parser.feed("circle")] == ["circle"]
    assert parser.feed("</cap") == []
    assert [(e.raw, e.closes) for e in parser.feed("tion>")] == [("</caption>", True)]
    assert [e.raw for e in parser.feed("a < b <time")] == ["a < b "]


def test_only_the_beginning_of_a_tag_is_held_back() -> None:
    parser = TraceParser()
    assert parser.feed("<thinkin") == []
    assert [e.raw for e in parser.feed("K")] == ["<thinkinK"]
    assert [e.raw for e in parser.feed("<<")] == ["<"]
    assert [e.raw for e in parser.close()] == ["<"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("<time>00:00-00:10</time><caption>a</caption><think>b</think>", ["time", "caption", "think"]),
        ("<TIME>00:00-00:10</Time> <Caption>a</CAPTION>", ["time", "text", "caption"]),
        ("<thinking>b</thinking>", ["think"]),
        ("<t>12.3</t>s", ["time", "text"]),
        ("<think>the man at<t>12.3</t>s</think>", ["think"]),
        ("<answer>at <time>00:02-00:04</time></answer>", ["answer"]),
        ("<time>00:01-00:02\n<caption>a", ["time", "caption"]),
        ("<time>nobody ends this " + "x" * 100, ["text"]),
        ("<time>00:00-00:10", ["time"]),
        ("<time>00:00-00:10</ti", ["time", "text"]),
        ("<time>00:00-00:10<", ["time", "text"]),
        ("< time>0-1</ time>", ["text"]),
    ],
)
def test_kinds(text: str, kinds: list[str]) -> None:
    seen = [event.kind for event in parse_events(text)]
    assert [kind for i, kind in enumerate(seen) if i == 0 or seen[i - 1] != kind] == kinds


def test_an_opening_tag_ends_what_is_open() -> None:
    events = parse_events("<think>so <time>00:01-00:02</time><caption>a<answer>C")
    assert [(e.kind, e.cut) for e in events if e.closes] == [
        ("think", True),
        ("time", False),
        ("caption", True),
        ("answer", True),
    ]


@pytest.mark.parametrize(
    "unit", ["<", "<time>", "</time>", "<think>", "<answer><time>", "<time>0-1</time>", "<time>0", "</", "<thinkin"]
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (2_000_000 // len(unit))
    began = time.process_time()
    events = parse_events(text)
    assert time.process_time() - began < 20
    assert sum(len(event.raw) for event in events) == len(text)


def test_ten_megabytes_of_less_than_in_small_pieces() -> None:
    parser = TraceParser()
    began = time.process_time()
    length = sum(len(event.raw) for _ in range(10_000) for event in parser.feed("<" * 1000))
    assert length + sum(len(event.raw) for event in parser.close()) == 10_000_000
    assert time.process_time() - began < 30


def test_every_output_of_real_models_is_kept(material: Path) -> None:
    outputs = []
    for file in sorted((material / "outputs" / "tw-grpo").glob("*/*.json")):
        if "metrics" not in file.name:
            outputs += [json.loads(line)["model_output"] for line in file.read_text(encoding="utf-8").splitlines()]
    for file in sorted((material / "outputs" / "vcr-bench").glob("*.json")):
        outputs += [row["response"] for row in json.loads(file.read_text(encoding="utf-8")) if "response" in row]
    for file in sorted((material / "outputs" / "tempcompass" / "predictions").rglob("*.json")):
        for video in json.loads(file.read_text(encoding="utf-8")).values():
            outputs += [item["prediction"] for items in video.values() for item in items]
    assert len(outputs) > 5000
    for output in outputs:
        events = feed(cut(output, list(range(0, len(output), 7))))
        assert "".join(event.raw for event in events) == output
        assert build_trace(events).answer
