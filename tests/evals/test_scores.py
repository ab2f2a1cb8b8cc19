"""What judged replies add up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.e2e.conftest import validate
from tests.scoring.test_rules import PIECES
from vtcli.errors import DataError
from vtcli.evals.predictions import Prediction, Trouble, prediction
from vtcli.evals.scores import Judged, judge_all, score_record
from vtcli.scoring.elements import answer_text, told_times
from vtcli.trace.model import parse_trace
from vtcli.trace.times import parse_range


def item(id: str, response: str | None, answer: Any = "A", **more: Any) -> Prediction:
    return prediction({"id": id, "response": response, "answer": answer, "options": ["x", "y", "z"], **more})


def record(*items: Prediction | Trouble, rules: tuple[str, ...] = ("strict",)) -> dict[str, Any]:
    found = score_record(judge_all(items, rules))
    validate(found, "score")
    return found


def test_accuracy_by_category_and_what_cannot_be_read() -> None:
    found = record(
        item("1", "A", category="p"), item("2", "B", category="p"), item("3", None, category="q"), item("4", "A or B")
    )
    assert (found["n"], found["correct"], found["accuracy"], found["unreadable"]) == (4, 1, 25, 2)
    assert {name: (part["n"], part["accuracy"]) for name, part in found["by_category"].items()} == {
        "p": (2, 50.0),
        "q": (1, 0.0),
    }
    assert found["interval"] == [0, 75] and found["grounding"] is found["samples"] is None


def test_the_last_of_equal_ids_counts() -> None:
    found = record(item("1", "B"), item("2", "A"), item("1", "A"))
    assert (found["n"], found["accuracy"], found["duplicates"]) == (2, 100, 1)


def test_a_question_in_two_categories_counts_in_both() -> None:
    found = record(item("1", "A", category=["p", "q"]))
    assert found["n"] == found["by_category"]["p"]["n"] == found["by_category"]["q"]["n"] == 1


def test_rules_side_by_side() -> None:
    found = record(item("1", "A man"), item("2", "A"), rules=("strict", "paper"))
    assert found["accuracy"] == 50 and found["by_extract"] == {"strict": 50, "paper": 100}


def test_troubles_are_told_and_not_counted() -> None:
    found = record(item("1", "A"), Trouble(2, "7", "the field 'answer' is missing"))
    assert found["n"] == 1 and found["errors"] == [{"line": 2, "id": "7", "message": "the field 'answer' is missing"}]


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="empty"):
        score_record(Judged(("strict",), ()))
    with pytest.raises(DataError, match="line 1: it is not JSON"):
        score_record(judge_all([Trouble(1, None, "it is not JSON")], ["strict"]))


def trace(*times: str, answer: str = "A") -> str:
    return "".join(f"<time>{time}</time> <caption>x</caption> <think>y</think> " for time in times) + (
        f"<answer>{answer}</answer>"
    )


def test_grounding() -> None:
    """The paper's mIoU is over true spans, CG-Bench's over questions."""
    found = record(
        item("1", trace("00:00-00:10", "00:30-00:40"), times=[[0, 10], [20, 40]]),  # 1 and 1/2; together 20 of 30
        item("2", trace("00:00-00:04", answer="B"), times=[[0, 10]]),  # 0.4
        item("3", "A", times=[[5, 6]]),
        item("4", "A"),
    )["grounding"]
    assert (found["n"], found["spans"], found["untimed"]) == (3, 4, 1)
    assert found["miou"] == pytest.approx(100 * (1 + 0.5 + 0.4 + 0) / 4)
    assert (found["r@0.3"], found["r@0.5"], found["r@0.7"]) == (75, 50, 25)
    assert (found["r1@0.3"], found["r1@0.5"], found["r1@0.7"]) == pytest.approx((66.6667, 33.3333, 33.3333))
    assert found["union_miou"] == pytest.approx(100 * (2 / 3 + 0.4 + 0) / 3, abs=1e-3)
    assert found["rec@iou"] == pytest.approx(100 * (5 + 4 + 0) / 15, abs=1e-3)
    assert found["acc@iou"] == pytest.approx(100 * 5 / 15, abs=1e-3)
    assert found["miop"] == pytest.approx(100 * (1 + 1 + 0) / 3, abs=1e-3) and found["acc@gqa"] == 33.3333
    # AP of the first: both found at 0.5, above it one of two; of the others nothing at 0.5.
    assert found["map"] == pytest.approx(100 * (1 + 9 * 0.5) / 10 / 3, abs=1e-3)


@given(PIECES)
def test_the_short_way_to_times_is_the_parsers(text: str) -> None:
    parsed = [(s.start, s.end) for s in parse_trace(text).segments if s.start is not None]
    if not parsed and (span := parse_range(answer_text(text))):
        parsed = [span]
    assert told_times(text) == parsed


def test_a_time_as_the_answer_counts_where_there_is_no_other() -> None:
    assert told_times("<think>x</think><answer>12.5 - 20</answer>") == [(12.5, 20)]
    assert told_times("12.5 - 20") == [(12.5, 20)]
    assert told_times("<time>00:01-00:02</time><answer>12.5 - 20</answer>") == [(1, 2)]


def test_samples() -> None:
    replies = {"1": "AAB", "2": "BBA", "3": "?AA"}
    found = record(*(item(id, reply, sample=n) for id, given in replies.items() for n, reply in enumerate(given)))
    assert found["n"] == 9 and found["accuracy"] == pytest.approx(100 * 5 / 9, abs=1e-3)
    samples = found["samples"]
    assert (samples["questions"], samples["k"]) == (3, 3)
    assert samples["pass"] == pytest.approx({"1": 55.5556, "2": 88.8889, "3": 100})
    assert samples["majority"] == pytest.approx(66.6667) and samples["agreement"] == pytest.approx(66.6667)
    assert samples["calibration"] == [{"agreement": 67.0, "n": 3, "accuracy": 66.6667}]


@pytest.mark.parametrize(
    ("rule", "answer", "replies"),
    [
        ("strict", "red", ["Red", "blue", "blue", "red.", "a RED"]),
        ("strict", "42", ["42", "7", "7", "42.0", "**42**"]),
        ("strict", "A", ["A", "B", "B", "(A)", "A. x"]),
        ("mvbench", "A", ["(a) x", "(b) y", "(b) y", "a", "A."]),
        ("cg-bench", "A", ["A, B", "C", "C", "B and A", "B or A"]),
        ("tw-grpo", "A", [f"<answer>{each}</answer>" for each in ("A", "B", "B", " A", "A ")]),
        ("tw-grpo", ["A", "C"], [f"<answer>{each}</answer>" for each in ("A,C", "B", "B", "C, A", "C,A")]),
    ],
)
def test_the_majority_is_of_answers_that_say_the_same(rule: str, answer: Any, replies: list[str]) -> None:
    options = ["x", "y", "z"] if rule != "strict" or answer == "A" else None
    found = record(
        *(item("1", reply, answer, sample=n, options=options) for n, reply in enumerate(replies)), rules=(rule,)
    )
    assert (found["samples"]["majority"], found["samples"]["agreement"]) == (100, 60)


def test_a_hostile_reply_of_a_megabyte() -> None:
    for text in ("<time>00:00-00:01</time>" * 10_000, "<answer>" * 100_000, "<time>" * 100_000, "A " * 500_000):
        record(item("1", text, times=[[0, 1]] * 20))
