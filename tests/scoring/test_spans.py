"""Overlap of spans, against counts on a grid and worked examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.scoring.spans import average_precision, best_ious, iop, iou, union_iou

SPANS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (float(min(s)), float(max(s)))), max_size=5
)


def seconds(spans: list[tuple[float, float]]) -> set[int]:
    return {second for start, end in spans for second in range(int(start), int(end))}


@given(SPANS, SPANS)
def test_union_iou_counts_seconds(told: list[tuple[float, float]], truth: list[tuple[float, float]]) -> None:
    ours, theirs = seconds(told), seconds(truth)
    assert union_iou(told, truth) == pytest.approx(len(ours & theirs) / len(ours | theirs) if ours | theirs else 0)


@given(SPANS, SPANS)
def test_best_ious_are_the_best(told: list[tuple[float, float]], truth: list[tuple[float, float]]) -> None:
    for found, true in zip(best_ious(told, truth), truth, strict=True):
        each = [union_iou([span], [true]) for span in told]
        assert found == pytest.approx(max(each, default=0))


def test_worked_examples() -> None:
    assert iou((0, 10), (5, 15)) == pytest.approx(1 / 3)
    assert iou((3, 3), (0, 10)) == 0
    assert iop((5, 15), (0, 10)) == 0.5 and iop((3, 3), (0, 10)) == 1 and iop((3, 3), (4, 10)) == 0


def test_average_precision() -> None:
    truth = [(0.0, 10.0), (20.0, 30.0)]
    assert average_precision([(0.0, 10.0), (20.0, 30.0)], truth, 0.5) == 1
    assert average_precision([(50.0, 60.0), (0.0, 10.0)], truth, 0.5) == 0.25  # one of two, at rank 2
    # The same span twice finds its truth once.
    assert average_precision([(0.0, 10.0), (0.0, 10.0)], truth, 0.5) == 0.5
    # Interpolated: the first hit takes the better precision of a later rank.
    assert average_precision([(50, 60), (0.0, 10.0), (20.0, 30.0)], truth, 0.5) == pytest.approx(2 / 3)
    assert average_precision([], truth, 0.5) == average_precision(truth, [], 0.5) == 0
