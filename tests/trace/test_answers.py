"""Reading a choice: clear statements only."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.trace.answers import read_choice, settle
from vtcli.trace.model import parse_trace

CHOICES = ["the king has arrived", "the bell was stolen", "the troll is coming", "Le Minéral"]


CLEAR = r"""
C | c | (C) | [C] | C. | C) | C: | C! | **C** | `C` | "C" | “C” | $C$ | {C} | (C). | \boxed{C} | $\boxed{\text{C}}$
Option C | option (C) | Choice: C | **Option C** | It is option C. | It's C | C. the troll is coming | C.the troll
C) The troll is coming. | (C) something else | C: it comes | **C** the troll | **C.** the troll | [C] the troll
C - the troll | C – the troll | c) a troll | C the troll is coming | C, the troll is coming | the troll is coming
The Troll  is coming. | 'the troll is coming' | Troll is coming | C, because it comes | C because it comes
C is correct
C is the correct answer | Option C is clearly correct | The answer is C | The answer is C. | Answer: C | answer:C
Final answer: C | My answer is **C** | The answer is clearly C. | So the answer should be C | I choose C.
C. D-Day begins
The correct answer is (C) the troll is coming | The most accurate answer is C) x | The answer is the troll is coming.
The answer is B. No, the answer is C. | It must be the horn. The answer is C because it blew | C. A man walks
"""
UNCLEAR = r"""
A man walks in. | I think so | A troll | E | (Z) | E. something | B or C | A, B | (B),(C) | B and C | B/C | C. or D.
a man
a.m. | U.S. troops | C.D. | D.C. is a city | Cat | Because | the king | The answer is A man | The answer is B or C
B-roll
The answer is E | The answer is not C | not C | Only the king has arrived and the bell was stolen | An answer
Best option
It's a man | Both B and C | ? | 1
"""


def samples(block: str) -> list[str]:
    return [sample for line in block.strip().splitlines() for sample in line.split(" | ")]


@pytest.mark.parametrize(
    "answer", [*samples(CLEAR), " C ", "C\n", "C\nBecause it comes.", "\N{FULLWIDTH LATIN CAPITAL LETTER C}"]
)
def test_clear(answer: str) -> None:
    assert read_choice(answer, CHOICES) == "C"


@pytest.mark.parametrize("answer", [*samples(UNCLEAR), "B\nC", "A. x\nB. y\nC. z", "\N{CYRILLIC CAPITAL LETTER ES}"])
def test_unclear(answer: str) -> None:
    assert read_choice(answer, CHOICES) is None


ANIMALS = ["cat", "dog", "bird", "fish"]
OPTIONS = "A. cat\nB. dog\nC. bird\nD. fish"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        (OPTIONS, None),
        (f"{OPTIONS}\n\nThe answer is B.", "B"),
        (f"{OPTIONS}\nAnswer: C", "C"),
        ("(A) cat\n(B) dog\n(C) bird\n(D) fish\nAnswer: C", "C"),
        ("A) cat B) dog C) bird D) fish", None),
        ("A. cat, B. dog, C. bird, D. fish. The answer is D.", "D"),
        ("A. dog", "A"),
        ("A: dog", "A"),
        ("A. cat", "A"),
        ("A dog", "B"),
        ("The dog.", "B"),
    ],
)
def test_the_label_a_is_no_article(answer: str, letter: str | None) -> None:
    assert read_choice(answer, ANIMALS) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("cat\ndog", None),
        ("cat\ndog\nThe answer is B", "B"),
        ("B. dog\nA. cat", None),
        ("B. dog\nD. fish", None),
        ("A. cat\nC. bird", None),
        ("A\nC. bird", None),
        ("A\nB\nThe answer is B", "B"),
        ("dog\nIt is no cat.", "B"),
        ("dog\ndog", "B"),
        ("B\nB. dog", "B"),
        ("B. dog\nA. cat is nowhere to be seen.", "B"),
    ],
)
def test_answers_on_separate_lines_must_agree(answer: str, letter: str | None) -> None:
    assert read_choice(answer, ANIMALS) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The wrong answer is C", None),
        ("The incorrect answer is B", None),
        ("The wrong answer: C", None),
        ("So the wrong answer is C. The answer is D", "D"),
        ("Not option B", None),
        ("don't pick C", None),
        ("Don\u2019t pick C", None),
        ("I would not choose A", None),
        ("do not select B", None),
        ("I cannot select B", None),
        ("never choose option A", None),
        ("It is not the answer: C", None),
        ("I would not choose A, I choose B", "B"),
        ("I choose B. I would never pick A.", "B"),
        ("B is wrong. The answer is C", "C"),
        ("B is wrong, the answer is C", "C"),
        ("A is not right. I choose C", "C"),
        ("I'd rule out option B. I choose C", "C"),
    ],
)
def test_a_rejected_choice_is_not_chosen(answer: str, letter: str | None) -> None:
    assert read_choice(answer, ANIMALS) == letter
    assert read_choice("", ANIMALS, answer) == letter


@pytest.mark.parametrize("answer", ["B。", "dog。", "「B」。", "B、", "B\uff01", "B\uff1a"])
def test_chinese_punctuation(answer: str) -> None:
    assert read_choice(answer, ANIMALS) == "B"


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("5", ["-5", "3"], None),
        ("\u22125", ["5", "-5"], "B"),
        ("A 5%", ["5", "5%"], "B"),
        ("the C++", ["C", "C++", "C#"], "B"),
        ("1/5", ["1.5", "1 5"], None),
        ("a > 5", ["a < 5", "a > 5"], "B"),
        ("दान", ["दिन", "दीन"], None),
        ("a T shirt", ["T-shirt", "hat"], "A"),
        ("version 1.5", ["a version 15", "a version 1.5"], "B"),
    ],
)
def test_signs_operators_points_and_marks_count(answer: str, choices: list[str], letter: str | None) -> None:
    assert read_choice(answer, choices) == letter


def test_accents_and_signs_tell_choices_apart() -> None:
    assert read_choice("Le Minéral", ["Le Mineral", "Le Minéral"]) == "B"
    assert read_choice("-5", ["5", "-5"]) == "B"
    assert read_choice("②①", ["A. ①②", "B. ②①"]) == "B"
    assert read_choice("Yes.", ["Yes", "No"]) == "A"


def test_choices_may_carry_their_letters() -> None:
    assert read_choice("Le Minerale", ["A. Le Minéral", "B. Le Minerale"]) == "B"
    assert read_choice("B. Le Minerale", ["(A) Le Minéral", "(B) Le Minerale"]) == "B"


def test_a_letter_is_a_letter_where_texts_are_letters_too() -> None:
    for answer in ("A", "A.", "(A)", "a)", "The answer is A"):
        assert read_choice(answer, ["B", "A", "C"]) == "A", answer


def test_equal_choices_are_ambiguous() -> None:
    assert read_choice("red", ["red", "Red", "blue"]) is None
    assert read_choice("B", ["red", "Red", "blue"]) == "B"


def test_reasoning_counts_only_without_an_answer() -> None:
    reasoning = "A man walks. The answer is B. Wait. The most accurate answer is C) the troll"
    assert read_choice("", CHOICES, reasoning) == "C"
    assert read_choice("no idea", CHOICES, reasoning) is None
    assert read_choice("", CHOICES, "A man walks. C comes.") is None
    assert read_choice("", CHOICES, "C") is None
    assert read_choice("", CHOICES, "The answer is C or D.") is None
    assert read_choice("", CHOICES, "The answer is H.") is None
    assert read_choice("C", []) is None


@given(st.text(max_size=60), st.lists(st.text(max_size=10), max_size=26), st.text(max_size=60))
def test_any_text_gives_a_letter_of_the_choices_or_none(answer: str, choices: list[str], text: str) -> None:
    letter = read_choice(answer, choices, text)
    assert letter is None or letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)]


@pytest.mark.parametrize("unit", ["*", "(", "The answer is ", "A. ", "\n", "option ", "C\n", "\\boxed{", "most "])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (500_000 // len(unit))
    began = time.process_time()
    read_choice(text, CHOICES)
    read_choice("", CHOICES, text)
    assert time.process_time() - began < 10


def test_settle() -> None:
    assert settle(parse_trace("<answer>c</answer>"), CHOICES) == (CHOICES[2], "C")
    assert settle(parse_trace("<answer>c</answer>"), []) == ("c", None)
    assert settle(parse_trace("<answer>a dog</answer>"), CHOICES) == ("a dog", None)
    assert settle(parse_trace("The answer is C. <answer></answer>"), CHOICES) == (CHOICES[2], "C")


def test_the_papers_traces(material: Path) -> None:
    for line in (material / "traces" / "traces.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        trace = parse_trace(row["output"])
        assert settle(trace, row["options"])[1] == (row["answer"] or None)


def test_letters_of_real_models(material: Path) -> None:
    """1250 outputs of Qwen2.5-VL-7B and a fine-tune: the letter their own scorer extracted."""
    files = [f for f in (material / "outputs" / "tw-grpo").glob("*/*.json") if "metrics" not in f.name]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1250
    for row in rows:
        letter = settle(parse_trace(row["model_output"]), row["question"]["options"])[1]
        assert letter == row["extracted_answer"].removeprefix("<answer>").removesuffix("</answer>")
