"""What each rule reads: vt's own, and the paper's harness against its own regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.scoring.elements import answer_text, contents
from vtcli.scoring.gold import Gold, resolve
from vtcli.scoring.rules import paper_letter, strict
from vtcli.trace.model import parse_trace
from vtcli.trace.parser import parse_events

OPTIONS = ["a dog", "a cat", "a man walks", "nothing"]

#: Pieces replies are made of, so that tags meet in every order.
PIECES = st.lists(
    st.sampled_from(
        ["<answer>", "</answer>", "<ANSWER>", "<think>", "</think>", "<time>", "00:01-00:02", "</time>", "<caption>",
         "</caption>", "A", "b", "C.", " ", "\n", "A man", "Final answer:", "[D", "B:", "x", "<", "I ", "\u017f", ""]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def harness(text: str) -> str | None:
    """Video-Thinker's extraction with its own expressions."""
    matches = re.findall(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL | re.IGNORECASE)
    if matches:
        searched = matches[-1].strip()
    else:
        final = re.search("Final answer:", text, re.IGNORECASE)
        searched = text[final.end() :].strip() if final else text
    first = re.match(r"\s*([A-Z])\b", searched, re.IGNORECASE)
    if first:
        return first.group(1).upper()
    return next(
        (c for c in "ABCDEFGHIJKLMNO" if f"{c}:" in searched or f"[{c}" in searched or f"{c} " in searched), None
    )


@given(PIECES)
def test_the_papers_harness_is_followed_exactly(text: str) -> None:
    assert paper_letter(text) == harness(text)


@given(PIECES)
def test_contents_are_what_findall_finds(text: str) -> None:
    assert contents(text) == [m.strip() for m in re.findall(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL | re.I)]


@given(PIECES)
def test_the_short_way_to_an_answer_is_the_parsers(text: str) -> None:
    found, answer = answer_text(text), parse_trace(text).answer
    assert found in (answer, "")  # a trace keeps an unclosed answer, to be shown; it is not scored
    if not any(event.kind == "answer" and event.cut for event in parse_events(text)):
        assert found == answer


def test_hostile_replies_take_linear_time() -> None:
    for text in ("<answer>" * 200_000, "<answer>" + " " * 1_000_000, "Final answer:" + " " * 1_000_000 + "!"):
        assert contents(text) == [] and paper_letter(text) is None


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("C", "C"),
        ("<answer>C</answer>", "C"),
        ("<time>00:01-00:02</time> <answer>A</answer> no, <answer>C</answer>", "C"),
        ("<think>it is B</think> The answer is B. <answer></answer>", None),
        ("<think>never closed <answer>C. a man walks</answer>", "C"),
        ("A man walks", "C"),
        ("A man sits", None),
        ("<answer>A or C</answer>", None),
        ("<answer>E</answer>", None),
        ("<answer>C", None),
        ("<think>x</think><answer>C", None),
        ("<answer>C</answer", None),
        ("<answer>C</answer> no, <answer>A", "C"),
        ("<answer>C<think>x</think></answer>", None),
        ("C</answer>", None),
        ("<answer>C <time>00:01-00:02</time></answer>", None),
        ("", None),
        ("The answer is C.", "C"),
    ],
)
def test_strict_reads_one_clear_option(reply: str, read: str | None) -> None:
    found = strict(reply, resolve("C", OPTIONS))
    assert (found.answer, found.score) == (read, float(read == "C"))


def test_the_harness_takes_a_first_letter_where_strict_does_not() -> None:
    assert paper_letter("A man sits") == "A"
    assert strict("A man sits", resolve("A", OPTIONS)).answer is None


@pytest.mark.parametrize(
    ("reply", "truth", "score"),
    [
        ("Yes, the video shows a man.", "yes", 1),
        ("No.", "yes", 0),
        ("Nothing of it", "no", None),
        ("**Yes**", "Yes", 1),
        ("42.0", "42", 1),
        ("<answer>1,200</answer>", "1200", 1),
        ("41", "42", 0),
        ("The kitchen.", "kitchen", 1),
        ("Option 2", "Option 2: a man walks", 1),
        ("A man walks", "Option 2: a man walks", 1),
        ("Option 1", "Option 2: a man walks", 0),
        ("", "kitchen", None),
        ("5", "-5", 0),
        ("-5", "5", 0),
        ("\u22125", "-5", 1),
        ("-5.0", "\u22125", 1),
        ("1 5", "1.5", 0),
        ("1/5", "1.5", 0),
        ("1:5", "1.5", 0),
        ("5", ".5", 0),
        (".50", "0.5", 1),
        ("**42**.", "42", 1),
        ("(42)", "42", 1),
        ("$42$", "42", 1),
        ("> 42", "42", 0),
        ("10", "10%", 0),
        ("10%", "10", 0),
        ("10 %", "10%", 1),
        ("3.4", "3-4", 0),
        ("0 - 10", "0-10", 1),
        ("C", "C++", 0),
        ("The C++!", "C++", 1),
        ("c", "C#", 0),
        ("< 5", "> 5", 0),
        (">5", "> 5", 1),
        ("x^1", "x^-1", 0),
        ("2.30", "2:30", 0),
        ("\u2265 5", "\u2264 5", 0),
        ("दान", "दिन", 0),
        ("दिन।", "दिन", 1),
        ("cafe\u0301!", "Café", 1),
        ("a well dressed man", "well-dressed man", 1),
        ("9" * 400, "8" * 400, 0),
    ],
)
def test_strict_reads_open_answers(reply: str, truth: str, score: int | None) -> None:
    found = strict(reply, resolve(truth))
    assert found.score == (score or 0) and (found.answer is None) == (score is None)


def test_yes_and_no_as_options() -> None:
    gold = resolve("no", ["Yes", "No"])
    replies = {"No, he sits.": 1, "Yes, he walks.": 0, "B": 1, "no": 1}
    assert {reply: strict(reply, gold).score for reply in replies} == replies
    assert strict("Nobody walks", gold).answer is None and strict("No, he sits.", gold).answer == "B"


def test_options_with_labels_of_their_own() -> None:
    gold = resolve("Option 2: He sits.", ["Option 1: He walks.", "Option 2: He sits."])
    replies = {"Option 2": 1, "Option 2.": 1, "He sits": 1, "B": 1, "Option 1": 0, "Option 2: He sits.": 1}
    assert {reply: strict(reply, gold).score for reply in replies} == replies
    assert strict("Option 3", gold).answer is None


def test_strict_without_the_options_texts() -> None:
    gold = resolve("C. a man walks")
    assert [strict(r, gold).score for r in ("C", "(C)", "A man walks.", "B", "a cat")] == [1, 1, 1, 0, 0]
    assert strict("a cat", gold).answer is None


def test_several_right_options_must_all_be_named_and_no_other() -> None:
    gold = resolve("A,C", OPTIONS, several=True)
    for reply, score in {"A, C": 1, "C and A": 1, "(A),(C)": 1, "A": 0, "A,B,C": 0, "<answer>A,C</answer>": 1}.items():
        assert strict(reply, gold).score == score, reply
    assert strict("all of them", gold).answer is None


@given(PIECES, st.sampled_from([Gold(frozenset("A")), resolve("B", OPTIONS), Gold(text="yes"), Gold(text="x")]))
def test_strict_takes_any_text(text: str, gold: Gold) -> None:
    found = strict(text, gold)
    assert found.score in (0.0, 1.0) and (found.answer is not None or found.score == 0)
