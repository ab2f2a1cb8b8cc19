"""Captioning scores: the packages' figures are those of the definitions, worked out by hand on a small sample."""

from __future__ import annotations

import sys
from math import exp

import pytest

from vtcli.errors import UsageError
from vtcli.evals.captions import caption_of, caption_record


def test_what_is_the_description_in_a_reply() -> None:
    trace = "Look. <time>00:00-00:02</time><caption>A man sits.</caption><think>y</think><caption>He eats.</caption>"
    assert caption_of(f"{trace}<answer>B</answer>") == "A man sits.\nHe eats."
    assert caption_of("<think>x</think><answer>A man sits.</answer>") == "A man sits."
    assert caption_of("A man sits.") == "A man sits."


def test_bleu_and_rouge() -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    pytest.importorskip("nltk")
    found = caption_record(["the cat sat", "a dog runs fast"], ["the cat sat on the mat", "a dog runs"])
    # 3 of 3 and 3 of 4 words are in their references; 7 words against 9 are too short.
    assert found["bleu@1"] == pytest.approx(100 * exp(1 - 9 / 7) * 6 / 7, abs=1e-3)
    # ROUGE-L: longest common subsequences of 3 words; F of (3/3, 3/6) and of (3/4, 3/3).
    assert found["rouge_l"] == pytest.approx(100 * (2 / 3 + 6 / 7) / 2, abs=1e-3)
    assert found["n"] == 2


def test_without_the_packages_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(UsageError, match="pip install"):
        caption_record(["x"], ["x"])
