"""The gold answer: one form for the many ways in which benchmarks write it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from vtcli.errors import DataError
from vtcli.trace.answers import without_labels

Form = Literal["any", "letter", "text", "index"]

_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:]?")
_LABELLED = re.compile(r"[(\[]?([A-Z])[)\].:]\s*(\S.*)", re.DOTALL)
_ELEMENT = re.compile(r"<answer>(.*)</answer>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Gold:
    """The right answer to one question.

    `letters`: the right options, one unless the benchmark says otherwise; empty for an open question.
    `text`: the right option's text, or the answer to an open question; "" where only the letter is known.
    `options`: the options' texts without letters; () where they are not known, or there are none.
    """

    letters: frozenset[str] = frozenset()
    text: str = ""
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join(sorted(self.letters)) or self.text


def resolve(
    answer: object, options: Sequence[str] | Mapping[str, str] = (), form: Form = "any", several: bool = False
) -> Gold:
    """Parses a gold answer: "C", "(C)", "C. text", "<answer>C</answer>", an option's text, an index.

    `form` says what the benchmark writes; "any" accepts a letter or a text. `several` allows more than one right option
    ("B,C", ["B", "C"]). Without `options`, "C" and "C. text" are letters and everything else is the answer to an open
    question. Raises DataError for an answer that does not name exactly one option.
    """
    texts = _options(options)
    if several:
        parts = answer if isinstance(answer, list | tuple) else re.split(r"\s*,\s*", _unwrapped(_text(answer)))
        golds = [resolve(part, options, form) for part in parts]
        letters = frozenset().union(*(gold.letters for gold in golds))
        if not golds or len(letters) != len(golds):
            raise DataError(f"the answer {_shown(answer)} is no set of different options")
        return Gold(letters, ", ".join(gold.text for gold in golds), texts)
    if form == "index":
        if isinstance(answer, str) and answer.strip().isdecimal():
            answer = int(answer)
        if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(texts):
            raise DataError(f"the answer {_shown(answer)} is no index of the {len(texts)} options")
        return Gold(frozenset(ascii_uppercase[answer]), texts[answer], texts)
    given = _unwrapped(_text(answer))
    if not given:
        raise DataError("the answer is empty")
    if not texts:
        return _without_options(given, form)
    found: set[str] = set()
    if form in ("any", "text") and (len(given) > 1 or min(map(len, texts)) < 3):  # otherwise it cannot be a text
        found |= _by_text(given, options, texts)
    if form in ("any", "letter") and (letter := _by_letter(given, texts)):
        found.add(letter)
    if len(found) != 1:
        trouble = "is several of" if found else "is none of"
        raise DataError(f"the answer {_shown(answer)} {trouble} the {len(texts)} options")
    letter = found.pop()
    return Gold(frozenset(letter), texts[ascii_uppercase.index(letter)], texts)


def _options(options: Sequence[str] | Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(options, Mapping):
        if "".join(options) != ascii_uppercase[: len(options)]:
            raise DataError(f"the options are labelled {_shown(list(options))}, not A, B, C … in order")
        options = list(options.values())
    if isinstance(options, str) or not all(isinstance(option, str) for option in options):
        raise DataError("the options are no list of texts")
    if not any(map(str.strip, options)):  # VCR-Bench's open questions have empty options
        return ()
    if len(options) > len(ascii_uppercase):
        raise DataError(f"{len(options)} options: there are letters for {len(ascii_uppercase)}")
    return without_labels(options)


def _without_options(given: str, form: Form) -> Gold:
    if form != "text":
        if letter := _LETTER.fullmatch(given):
            return Gold(frozenset(letter[1].upper()))
        if labelled := _LABELLED.fullmatch(given):
            return Gold(frozenset(labelled[1]), labelled[2].strip())
    if form == "letter":
        raise DataError(f"the answer {_shown(given)} is no letter")
    return Gold(text=given)


def _by_text(given: str, options: Sequence[str] | Mapping[str, str], texts: Sequence[str]) -> set[str]:
    """Returns the letters of the options equal to `given`, exactly or else up to case, blanks and final full stops."""
    written = list(options.values()) if isinstance(options, Mapping) else options
    exact = {ascii_uppercase[i] for i, option in enumerate(written) if option.strip() == given}
    exact |= {ascii_uppercase[i] for i, text in enumerate(texts) if text == given}
    if exact:
        return exact
    wanted = _loose(given)
    return {ascii_uppercase[i] for i, text in enumerate(texts) if _loose(text) == wanted}


def _by_letter(given: str, texts: Sequence[str]) -> str | None:
    letters = ascii_uppercase[: len(texts)]
    if letter := _LETTER.fullmatch(given):
        return letter[1].upper() if letter[1].upper() in letters else None
    labelled = _LABELLED.fullmatch(given)
    if labelled and labelled[1] in letters and _loose(labelled[2]) == _loose(texts[letters.index(labelled[1])]):
        return labelled[1]
    return None


def _loose(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _text(answer: object) -> str:
    if isinstance(answer, str):
        return answer.strip()
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return str(answer)
    raise DataError(f"the answer {_shown(answer)} is no text")


def _unwrapped(text: str) -> str:
    element = _ELEMENT.fullmatch(text)
    return element[1].strip() if element else text


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
