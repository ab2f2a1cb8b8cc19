"""Rewards: what each one gives for what, and that users' own are called as told."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from vtcli.errors import UsageError
from vtcli.train.records import Record
from vtcli.train.rewards import REWARDS, Group, find_reward, form_of, score

TRACE = "Look. <time>00:00-00:04</time> <caption>a</caption> <think>b</think> <answer>{}</answer>"
RECORD = Record("x:1", "Why?", "multiple choice", "B", ("one", "two"), spans=((0.0, 4.0),))


def group(*texts: str, record: Record = RECORD, lengths: tuple[int, ...] = (), shuffled: tuple[str, ...] = ()) -> Group:
    return Group(record, texts, lengths or (400,) * len(texts), shuffled)


def test_accuracy_is_the_papers_for_letters() -> None:
    said = [TRACE.format(x) for x in ("B", " B ", "A", "B. two", "")] + ["B", "B man walks"]
    assert REWARDS["accuracy"](group(*said)) == [1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "answer", "said", "expected"),
    [
        ("exact", "four seconds in", "Four seconds in", 1),
        ("exact", "four seconds in", "five seconds in", 0),
        ("numerical", "42", "42", 1),
        ("numerical", "42", "42.0", 0),  # Video-R1: both or neither have decimals
        ("numerical", "1,000.5", "1000.50", 1),
        ("regression", "10", "8", 0.8),
        ("regression", "10", "-100", 0),
        ("OCR", "STOP here now", "STOP there now", 2 / 3),
        ("temporal grounding", "10-20", "00:15-00:20", 0.5),
        ("temporal grounding", "10-20", "later", 0),
    ],
)
def test_accuracy_by_the_kind_of_question(kind: str, answer: str, said: str, expected: float) -> None:
    spans = ((10.0, 20.0),) if kind == "temporal grounding" else ()
    record = Record("x:1", "?", kind, answer, spans=spans)
    assert score(record, f"<think>x</think><answer>{said}</answer>") == pytest.approx(expected)


def test_formats() -> None:
    paper, relative = TRACE.format("B"), "<think>x</think>\n<answer>B</answer>"
    assert REWARDS["format"](group(paper, relative, paper + paper)) == [1, 0, 0]
    assert REWARDS["video-r1-format"](group(paper, relative)) == [0, 1]


def test_held_out_replies_are_held_against_the_recipes_own_format() -> None:
    said = group("<think>x</think>\n<answer>B</answer>")
    assert (form_of("video-r1")(said), form_of("ask")(said), form_of("video-thinker")(said)) == ([1], [0], [0])


def test_times() -> None:
    half = TRACE.format("B").replace("00:04", "00:02")
    assert REWARDS["times"](group(TRACE.format("B"), half, "nothing")) == [1, 0.5, 0]
    assert REWARDS["times"](group(TRACE.format("B"), record=dataclasses.replace(RECORD, spans=()))) == [0]


def test_captions() -> None:
    """Two stretches, of which times, words and number count."""
    part = "<time>{}</time> <caption>{}</caption> <think>so</think> "
    first, second = part.format("00:00-00:04", "a dog barks"), part.format("00:04-00:06", "it leaves")
    record = dataclasses.replace(RECORD, process="Look. " + first + second)
    said = [
        first + second,
        second + first,
        first,
        first + second + part.format("00:06-00:08", "it is back"),
        part.format("00:00-00:04", "a cat barks") + second,
        part.format("00:00-00:02", "a dog barks") + second,
        part.format("soon", "a dog barks"),
        "nothing",
    ]
    wanted = [1, 1, 1 / 2, 2 / 3, (2 / 3 + 1) / 2, (1 / 2 + 1) / 2, 0, 0]
    assert REWARDS["captions"](group(*said, record=record)) == pytest.approx(wanted)
    assert REWARDS["captions"](group(first)) == [0]  # no trace to hold it against


def test_temporal_is_given_where_order_helps() -> None:
    right, wrong = TRACE.format("B"), TRACE.format("A")
    reward = REWARDS["temporal"]
    assert reward(group(right, right, wrong, wrong, shuffled=(wrong, wrong))) == [0.3, 0.3, 0, 0]
    assert reward(group(right, right, wrong, wrong, shuffled=(right, right))) == [0, 0, 0, 0]
    assert reward(group(right, right, right, right, wrong, shuffled=(right,))) == [0.3, 0.3, 0.3, 0.3, 0]  # 0.8 of it
    assert reward(group(right)) == [0]


def test_length_is_given_to_two_right_ones_or_more() -> None:
    right, wrong = TRACE.format("B"), TRACE.format("A")
    reward = REWARDS["length"]
    assert reward(group(right, right, right, wrong, lengths=(320, 512, 513, 400))) == [0.2, 0.2, 0, 0]
    assert reward(group(right, wrong, lengths=(400, 400))) == [0, 0]


def test_rewards_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vt_test_rewards.py").write_text(
        "def shouting(group):\n    return [text.isupper() for text in group.texts]\n"
        "def short(group):\n    return []\nx = 1\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)  # where `vt train` is run
    assert find_reward("vt_test_rewards:shouting")(group("A", "a")) == [1.0, 0.0]
    with pytest.raises(UsageError, match="gave 0 numbers for 1"):
        find_reward("vt_test_rewards:short")(group("A"))
    for name, message in (
        ("acuracy", "no such reward: acuracy"),
        ("vt_test_rewards:none", "cannot be imported"),
        ("no.such.module:f", "cannot be imported"),
        ("vt_test_rewards:x", "is no function"),
    ):
        with pytest.raises(UsageError, match=message):
            find_reward(name)
