"""Rules that read an answer from a reply and judge it. All see the same text, so they can be compared.

`strict` is vt's own: the content of the answer, if it says one thing clearly. `paper` is the harness of Video-Thinker
(arXiv 2510.23473), which accepts a first letter: it reads "A man walks" as A. The others are in
`vtcli.scoring.official`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from vtcli.scoring.elements import answer_text, contents
from vtcli.scoring.gold import Gold
from vtcli.trace.answers import AROUND, matching, read_choice, words


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer that a rule read (None: unreadable) and its score, 0 to 1."""

    answer: str | None
    score: float


Rule = Callable[[str, Gold], Verdict]

UNREADABLE = Verdict(None, 0.0)

# Placeholders for options whose texts are not known: nothing a model writes equals them.
_UNKNOWN = tuple(f"\0{letter}" for letter in ascii_uppercase)
_LETTERS = re.compile(r"[(\[]?([A-Z])[)\].:]*(?:(?:\s*[,;/&]\s*(?:and\s+)?|\s+and\s+|\s+)[(\[]?([A-Z])[)\].:]*)+")
_LETTER = re.compile(r"[A-Z]")
_JOINED = re.compile(r"[A-Z](?:\s*,\s*[A-Z])+")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)")
_AROUND = "".join(each for each in AROUND if each not in ".<>")  # what may precede a number and leave it the same
_LABEL = re.compile(r"((?:Option|Sentence|Caption) \w):\s*(.+)", re.DOTALL)


def verdict(answer: str | None, gold: Gold) -> Verdict:
    """Judges a letter: right if it is the only right one. None is unreadable."""
    return UNREADABLE if answer is None else Verdict(answer, float(gold.letters == {answer}))


def strict(reply: str, gold: Gold) -> Verdict:
    """Reads the last closed `<answer>`, or a whole reply without markup, if it names one option clearly.

    If several options are right, all must be named and no other. The answer to an open question must equal the gold
    answer up to case, an article and punctuation other than signs, operators and the points of numbers; a number may be
    written differently ("42.0"), and for yes and no the first word counts.
    """
    text = answer_text(reply)
    if len(gold.letters) > 1:
        return _several(text, gold)
    if not gold.letters:
        return _open(text, gold.text)
    letter = read_choice(text, gold.options or _UNKNOWN)
    if letter is None and not gold.options and matching(text, [gold.text]):
        (letter,) = gold.letters
    return verdict(letter or _by_words(text, gold.options), gold)


def paper(reply: str, gold: Gold) -> Verdict:
    """Video-Thinker's harness."""
    return verdict(paper_letter(reply), gold)


def paper_letter(reply: str) -> str | None:
    """Returns the letter that Video-Thinker's harness reads, None for its "WRONG".

    It searches the last `<answer>`, else the text after "Final answer:", else the whole reply. It takes a first letter
    that is a word of its own, in either case; else the first of A to O before a colon or a blank or after a square
    bracket.
    """
    answers = contents(reply)
    if answers:
        text = answers[-1]
    else:
        final = re.search("Final answer:", reply, re.IGNORECASE)
        text = reply[final.end() :].strip() if final else reply
    first = re.match(r"\s*([A-Z])\b", text, re.IGNORECASE)
    if first:
        return first[1].upper()
    return first_marked(text, "ABCDEFGHIJKLMNO")


def first_marked(text: str, letters: Sequence[str]) -> str | None:
    """Returns the first of `letters`, in their order, that `text` contains as "C:", "C " or "[C"."""
    return next((c for c in letters if f"{c}:" in text or f"{c} " in text or f"[{c}" in text), None)


def _by_words(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the option that a reply names by label ("Option 2" for "Option 2: …"), or by yes or no."""
    words = [option.casefold() for option in options]
    if sorted(words) == ["no", "yes"]:
        said = _yes_or_no(text)
        return ascii_uppercase[words.index(said)] if said else None
    labelled = [_LABEL.fullmatch(option) for option in options]
    found = {
        letter
        for letter, label in zip(ascii_uppercase, labelled, strict=False)
        if label and matching(text, label.groups())
    }
    return found.pop() if len(found) == 1 else None


def _several(text: str, gold: Gold) -> Verdict:
    if not _LETTERS.fullmatch(text):
        letter = read_choice(text, gold.options or _UNKNOWN)
        return UNREADABLE if letter is None else Verdict(letter, 0.0)
    named = sorted(set(_LETTER.findall(text.replace("and", ""))))
    return Verdict(",".join(named), float(gold.letters == set(named)))


def _open(text: str, truth: str) -> Verdict:
    if not text:
        return UNREADABLE
    if truth.casefold() in ("yes", "no"):
        said = _yes_or_no(text)
        return Verdict(said, float(said == truth.casefold())) if said else UNREADABLE
    labelled = _LABEL.fullmatch(truth)
    truths = [truth, *labelled.groups()] if labelled else [truth]
    value = number(truth)
    right = bool(matching(text, truths)) if value is None else _marked_number(text) == value
    return Verdict(text, float(right))


def _yes_or_no(text: str) -> str | None:
    """Returns the first word if it is yes or no, as in "Yes, the man walks"."""
    word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return word[1].lower() if word else None


def vote(answer: str) -> str | float:
    """Returns what answers that differ in form only have in common: the number, the letters in order, or the words."""
    value = _marked_number(answer)
    if value is not None:
        return value
    if _JOINED.fullmatch(answer):
        return ",".join(sorted(_LETTER.findall(answer)))
    return words(answer) or answer


def _marked_number(text: str) -> float | None:
    """Like `number`, but allows markup around it ("**42**")."""
    return number(text.lstrip(_AROUND).rstrip(f"{_AROUND}."))


def number(text: str) -> float | None:
    """Parses a number with or without commas between thousands; None for any other text, or beyond a float's range."""
    given = text.strip().rstrip(".").replace("\u2212", "-")
    value = float(given.replace(",", "")) if _NUMBER.fullmatch(given) else math.inf
    return value if math.isfinite(value) else None
