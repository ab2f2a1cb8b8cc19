"""Video-MMMU's scorer: videommmu/VideoMMMU, lmms_eval/tasks/videommmu/utils.py, which is MMMU's with one more step.

lmms-eval has since replaced the part that reads options with an extractor of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from vtcli.scoring.gold import Gold
from vtcli.scoring.rules import UNREADABLE, Verdict, verdict

_AROUND = (",", ".", "!", "?", ";", ":", "'")
_KEYS = (
    "could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ", "are ", "in total ", "total ",
    "identify ", "recognize ", "calculated as ", "counted as ", "measured as ", "observed as ", "concluded as ",
    "found to be ", "equals ", "determined to be ", "number of ", "value is ", "adds up to ", "have ", "has ",
)  # fmt: skip
_TRIVIAL = frozenset({"", ":", ",", ".", "!", "?", ";", "'"})
_NUMBERS = (  # the lookbehinds are ours: same matches, without trying each digit of a long number
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_OPTIONS = 10  # most questions have this many


def video_mmmu(reply: str, gold: Gold) -> Verdict:
    """Judges a reply as Video-MMMU's script does.

    With options, the one named last counts, named by its letter with a mark or, in replies of more than five words, by
    its text. An open question is right if its gold answer appears in the text after "is", "answer" and similar words,
    or equals a number there, to two decimals.
    """
    if not reply:
        return UNREADABLE
    return verdict(_letter(reply, gold.options), gold) if gold.letters else _open(reply, gold.text)


def _letter(reply: str, options: Sequence[str]) -> str | None:
    for mark in _AROUND:
        reply = reply.strip(mark)
    reply = f" {reply} "
    letters = ascii_uppercase[: len(options) or _OPTIONS]
    # Full stops and colons precede brackets, brackets precede blanks; the last position is that of the form found.
    with_stop = [c for c in letters if f"{c}." in reply]
    marked = with_stop + [c for c in letters if f"{c}:" in reply]
    if marked:
        return _last(marked, lambda c: reply.rfind(f"{c}." if with_stop else f"{c}:"))
    if bracketed := [c for c in letters if f"({c})" in reply]:
        return _last(bracketed, lambda c: reply.rfind(f"({c})"))
    if alone := [c for c in letters if f"{c} " in reply]:
        return _last(alone, lambda c: reply.rfind(f" {c} "))
    if len(reply.split()) <= 5:
        return None
    texts = {c: text.lower() for c, text in zip(letters, options, strict=False)}
    told = reply.lower()
    named = [c for c, text in texts.items() if text in told]
    return _last(named, lambda c: told.rfind(texts[c])) if named else None


def _last(letters: Sequence[str], place: Callable[[str], int]) -> str:
    """Returns the letter with the last place; of several at the same place, the first."""
    return max(letters, key=place)


def _open(reply: str, truth: str) -> Verdict:
    parts = _key_parts(reply)
    told = {form for part in parts for each in (part, *_numbers(part)) for form in _forms(each)}
    right = _forms(truth)
    correct = any(
        any(isinstance(form, str) and form in each for form in right) if isinstance(each, str) else each in right
        for each in told
    )
    return Verdict(parts[-1], float(correct))


def _key_parts(reply: str) -> list[str]:
    """Returns, for each line, the shortest text after a word that announces an answer; else the whole reply."""
    reply = reply.strip().strip(".").lower()
    lines = reply.split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        keys = (*_KEYS, "=") if number == len(lines) else _KEYS
        # An empty text does not count: the next one found replaces it.
        shortest = ""
        for key in keys:
            if key in line:
                after = line.split(key)[-1].strip()
                shortest = after if not shortest or len(after) < len(shortest) else shortest
        if shortest not in _TRIVIAL:
            found.append(shortest)
    return found or [reply]


def _numbers(text: str) -> list[str]:
    return [number for pattern in _NUMBERS for number in pattern.findall(text)]


def _forms(text: str) -> list[str | float]:
    """Returns the number rounded to two decimals, or the text in lower case (one character: with a blank beside it)."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
