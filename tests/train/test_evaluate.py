"""The scores of the embedded model: what counts as right, and how times are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from vtcli.shapes.language import clock, truth
from vtcli.trace.model import parse_trace
from vtcli.train.tiny.evaluate import LONG_FIRST_CLIP, Item, mean_iou, question_of, scene_of, table


def told(clip: int, shift: int = 0) -> str:
    return " ".join(
        f"<time>{clock(fact.start + shift)}-{clock(fact.end + shift)}</time> <caption>x</caption>"
        for fact in truth(scene_of(clip))
    )


def test_the_truth_overlaps_itself_and_another_time_does_not() -> None:
    for clip in (0, 1, 2, LONG_FIRST_CLIP):
        scene = scene_of(clip)
        assert mean_iou(scene, parse_trace(told(clip))) == pytest.approx(1.0)
        assert mean_iou(scene, parse_trace(told(clip, shift=60))) == 0.0
        assert mean_iou(scene, parse_trace("no times at all")) == 0.0


def test_each_true_segment_takes_the_best_of_those_told() -> None:
    scene = next(scene_of(clip) for clip in range(50) if len(scene_of(clip).events) == 1)
    fact = truth(scene)[0]
    middle = fact.start + (fact.end - fact.start) / 2
    text = f"<time>{fact.start}-{middle} seconds</time> <time>59-60 seconds</time>"
    assert mean_iou(scene, parse_trace(text)) == pytest.approx(0.5)


def test_clips_and_questions_follow_from_their_number() -> None:
    assert scene_of(5) == scene_of(5) and question_of(5, True) == question_of(5, True)
    assert scene_of(5).duration == 8.0
    lengths = {scene_of(LONG_FIRST_CLIP + n).duration for n in range(60)}
    assert min(lengths) >= 6 and max(lengths) <= 24 and len(lengths) > 15


def test_the_table_counts_sets_and_kinds_apart() -> None:
    item = Item("8 s", 0, 8.0, "way", True, "left", "left", True, True, 1.0, 100)
    items = [
        item,
        replace(item, correct=False, iou=0.5),
        replace(item, multiple_choice=False, answer="up", correct=False),
        replace(item, multiple_choice=False, expected="up", answer="up"),
        replace(item, set="other", correct=False, format_ok=False, iou=0.0),
    ]
    rows = table(items).splitlines()
    assert rows[2] == "| 8 s | 4 | 50.0 | 50.0 | 100.0 | 0.875 |"
    assert rows[3] == "| other | 1 | 0.0 | - | 0.0 | 0.000 |"
    assert rows[4] == "| (chance) | | 25.0 | 50.0 | | |"
    assert rows[-1] == "| way | 50.0 (n=2) | 50.0 (n=2) |"
