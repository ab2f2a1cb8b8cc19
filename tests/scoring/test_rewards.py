"""Rewards of one reply: Video-Thinker's, and Video-R1's by type of problem."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.errors import UsageError
from vtcli.scoring.rewards import (
    paper_accuracy,
    paper_format,
    video_r1_accuracy,
    video_r1_format,
    word_edits,
    word_error_rate,
)

C = "<answer>C</answer>"


@pytest.mark.parametrize(
    ("reply", "reward"),
    [
        (C, 1),
        ("free text <answer> C\n</answer>", 1),
        ("<answer>C</answer> no <answer>B</answer>", 1),  # the reward takes the first, the evaluation the last
        ("<answer>C.</answer>", 0),
        ("<answer></answer>", 0),
        ("C", 0),
        ("C is what a man would say", 0),
    ],
)
def test_paper_accuracy(reply: str, reward: int) -> None:
    assert paper_accuracy(reply, C) == paper_accuracy(reply, "C") == reward


def test_paper_format() -> None:
    block = "<time>00:01-00:02</time> <caption>x</caption> <think>y</think>"
    assert paper_format(f"text {block} text {C}") == 1
    assert paper_format(C) == 0 and paper_format(f"{block}{C}{C}") == 0


@pytest.mark.parametrize(
    ("kind", "given_", "truth", "reward"),
    [
        ("multiple choice", "C", "C", 1),
        ("multiple choice", "C.", "C", 0),
        ("numerical", "1,200", "1200.0", 1),
        ("numerical", "3", "3.0", 0),  # one has decimals, the other not
        ("numerical", "3.141", "3.14", 1),
        ("numerical", "about 3", "3", 0),
        ("numerical", "nan", "nan", 0),
        ("numerical", "9" * 400, "3", 0),
        ("OCR", "stop the car", "stop that car", 2 / 3),
        ("OCR", "a b c d e f", "x", 0),
        ("regression", "8", "10", 0.8),
        ("regression", "-100", "10", 0),
        ("regression", "much", "10", 0),
    ],
)
def test_video_r1_accuracy(kind: str, given_: str, truth: str, reward: float) -> None:
    reply = f"<think>…</think><answer>{given_}</answer>"
    assert video_r1_accuracy(reply, f"<answer>{truth}</answer>", kind) == pytest.approx(reward)


def test_free_form_is_the_mean_of_three_rouges() -> None:
    pytest.importorskip("rouge_score")
    reply = "<answer>the cat sat on the mat</answer>"
    truth = "<answer>the cat is on the mat</answer>"  # F: 5 of 6 words, 3 of 5 pairs, 5 of 6 in order
    assert video_r1_accuracy(reply, truth, "free-form") == pytest.approx((5 / 6 + 3 / 5 + 5 / 6) / 3)


def test_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match="problem_type"):
        video_r1_accuracy(C, C, "poem")


@pytest.mark.parametrize(
    ("reply", "reward"),
    [
        ("<think>a</think> \n<answer>b</answer>", 1),
        ("<think></think><answer></answer>", 1),
        ("x <think>a</think><answer>b</answer>", 0),
        ("<think>a</think> so <answer>b</answer>", 0),
        ("<think>a</think><answer>b</answer> ", 0),
    ],
)
def test_video_r1_format(reply: str, reward: int) -> None:
    assert video_r1_format(reply) == reward


@given(st.lists(st.sampled_from("ab"), max_size=6), st.lists(st.sampled_from("ab"), max_size=6))
def test_word_edits_is_a_distance(one: list[str], other: list[str]) -> None:
    assert word_edits(one, other) == word_edits(other, one)
    assert (word_edits(one, other) == 0) == (one == other)
    assert abs(len(one) - len(other)) <= word_edits(one, other) <= max(len(one), len(other))


def test_word_error_rate() -> None:
    assert word_error_rate("a b c d", "a x c") == 0.5
    assert word_error_rate("", "a b") == 2
