"""Captioning scores: the packages' figures are those of the definitions, worked out by hand on a small sample."""

from __future__ import annotations

import json
import sys
from math import exp
from pathlib import Path

import pytest

from vtcli.errors import UsageError
from vtcli.evals import captions
from vtcli.evals.captions import WORDNET, caption_of, caption_record, words
from vtcli.evals.report import shortfalls

SAMPLE = json.loads((Path(__file__).parent / "captions_sample.json").read_text(encoding="utf-8"))
PAIRS = [(pair["reference"], pair["caption"], pair["meteor"]) for pair in SAMPLE["pairs"]]
#: nltk looks synonyms up by their stems, and so misses them where stem and word differ (two of the pairs); it takes off
#: for a single chunk too, which the Java program does not where all is matched.
APART = {3: 0.7958, 7: 0.6476, 9: 1 - 0.5 / 7**3}


@pytest.fixture(scope="module")
def meteor() -> None:
    """Skips where WordNet is not on this machine."""
    pytest.importorskip("nltk")
    if captions._wordnet() is None:
        pytest.skip(WORDNET)


def score(reference: str, caption: str) -> float:
    return float(caption_record([caption], [reference])["meteor"]) / 100


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


def test_words_are_those_of_the_captioning_scripts() -> None:
    pytest.importorskip("nltk")
    text = "A man's dog says \"hello\". They don't stop ... 3.5 cups; a T-shirt!"
    assert words(text) == [
        "a",
        "man",
        "'s",
        "dog",
        "says",
        "hello",
        "they",
        "do",
        "n't",
        "stop",
        "3.5",
        "cups",
        "a",
        "t-shirt",
    ]


def test_the_sample_by_cocos_scripts() -> None:
    """Bleu_1 is that of pycocoevalcap; ROUGE-L is F1, where COCO's weighs recall more."""
    for package in ("sacrebleu", "rouge_score", "nltk"):
        pytest.importorskip(package)
    found = caption_record([caption for _, caption, _ in PAIRS], [reference for reference, _, _ in PAIRS])
    assert found["bleu@1"] == SAMPLE["bleu@1"]
    by_hand = [rouge_l(reference, caption) for reference, caption, _ in PAIRS]
    assert found["rouge_l"] == pytest.approx(100 * sum(by_hand) / len(by_hand), abs=1e-3)


def rouge_l(reference: str, caption: str) -> float:
    """F1 of the longest common subsequence of words of letters and digits."""
    right, told = ("".join(c if c.isalnum() else " " for c in text.lower()).split() for text in (reference, caption))
    longest = [[0] * (len(told) + 1) for _ in range(len(right) + 1)]
    for i, one in enumerate(right):
        for j, other in enumerate(told):
            longest[i + 1][j + 1] = longest[i][j] + 1 if one == other else max(longest[i][j + 1], longest[i + 1][j])
    return 2 * longest[-1][-1] / (len(right) + len(told))


@pytest.mark.usefixtures("meteor")
@pytest.mark.parametrize(("number", "pair"), list(enumerate(PAIRS)))
def test_meteor_is_that_of_the_java_program_at_the_same_settings(number: int, pair: tuple[str, str, float]) -> None:
    reference, caption, expected = pair
    assert score(reference, caption) == pytest.approx(APART.get(number, expected), abs=1e-4)


@pytest.mark.usefixtures("meteor")
@pytest.mark.parametrize(
    ("reference", "caption", "expected"),
    [
        ("the cat sat on the mat", "The cat sat on the mat.", 1 - 0.5 * (1 / 6) ** 3),  # one chunk of six
        ("he walks", "he walked", 1 - 0.5 * (1 / 2) ** 3),  # by its stem
        ("the car", "the auto", 1 - 0.5 * (1 / 2) ** 3),  # by a synonym
        ("a dog sleeps", "two red cars", 0.0),
        ("a b c", "a x c", (2 / 3) * (1 - 0.5 * (2 / 2) ** 3)),  # two of three words, in two chunks
    ],
)
def test_meteor_worked_by_hand(reference: str, caption: str, expected: float) -> None:
    assert score(reference, caption) == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("meteor")
def test_meteor_of_nltks_own_examples() -> None:
    """The figure nltk's documentation gives for its example."""
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"
    caption = "It is a guide to action which ensures that the military always obeys the commands of the party"
    assert score(reference, caption) == pytest.approx(0.6944, abs=1e-4)


def test_without_wordnet_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nltk")
    (tmp_path / "data.adj").write_text("1 This software and database is called WordNet 3.1 Copyright", "utf-8")
    for folder in (tmp_path / "none", tmp_path):
        assert captions._installed_wordnet(folder) is None
    monkeypatch.setattr(captions, "_wordnet", lambda: None)
    found = caption_record(["a man"], ["a man"])
    assert found["meteor"] is None and found["bleu@1"] == 100
    used = {"cut": 0, "warnings": []}
    record = {"missing": 0, "unanswered": 0, "failed": 0, "captioning": found, "used": used}
    assert list(shortfalls(record)) == [WORDNET]
