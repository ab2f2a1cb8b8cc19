"""Read which choice an answer names. Only clear statements count: a guess would be taken for the model's answer.

Common scorers take the first capital letter of the reply, so that "A man walks" chooses A; this module does not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from vtcli.trace.model import Trace

_QUOTES = "\"'\u201c\u201d\u2018\u2019\u00ab\u00bb\u300c\u300d"
_POINTS = ".,:;!。、，：；！"  # noqa: RUF001
AROUND = " \t\r\n*_`()[]{}<>$" + _POINTS + _QUOTES
"""Blanks, punctuation and markup that may surround an answer."""
_MARK = r"[*_`\"'(\[{]{0,4}"  # markup that may precede a letter: "**C**", "(C)", "[C]"
_WORD_GOES_ON = r"[\w'\u2019]"
_BOXED = re.compile(r"\\(?:boxed|text|textbf|mathrm)\s{0,4}\{([^{}]{0,80})\}")
# "The most accurate answer is", "Answer:", "Option", "It is option"
_LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s{1,4})?"
    r"(?:(?:it\s{1,4}is|it['\u2019]s)\s{1,4}(?=(?:option|choice)\b|\W{0,4}[A-Z]\b)"
    r"|(?:(?:the|my)\s{1,4})?(?:(?:most\s{1,4})?\w{1,12}\s{1,4})?(?:answer|option|choice)\b"
    r"(?:\s{1,4}(?:is|would\s+be|should\s+be|must\s+be)\b)?)"
    r"[\s:*_`\"'(\[]{0,8}(?:option\b[\s:*(\[]{0,8})?",
    re.IGNORECASE,
)
# "C. text", "(C) text", "**C** text", "C - text"
_LABELLED = re.compile(
    rf"{_MARK}([A-Za-z])(?:[*_`]{{0,3}}[.):\]][*_`\])]{{0,3}}|[*_`]{{2}}|\s+[-\u2013\u2014](?=\s))(.*)", re.DOTALL
)
_BECAUSE = r"(?:because|since|as|based|given)\b"
_IS_RIGHT = r"\s+is\s+(?:the\s+)?(?:\w{1,10}ly\s+)?(?:correct|right|best|answer)\b"
_REASONED = re.compile(rf"([A-Z])(?:,?\s+{_BECAUSE}|{_IS_RIGHT})")
# another letter after the first: "or D", ", D", ") and (D)"
_MORE = re.compile(rf"[\s.,;/&+)\]]{{0,8}}(?:(?:and|or)\s+)?{_MARK}([A-Z])(?!{_WORD_GOES_ON}|-\w|\s+[a-z])")
_STATEMENT = re.compile(
    r"(?i:\banswer(?:\s{1,4}(?:is|was|would\s+be|should\s+be|must\s+be|has\s+to\s+be)\b(?:\s{1,4}\w{1,10}ly\b)?"
    r"\s{0,4}:?|\s{0,4}[:=])(?:\s{1,4}(?:option|choice|letter))?|\b(?:choose|pick|select|go\s+with)\s{1,4}(?:option)?)"
    rf"[*\s]{{0,6}}{_MARK}([A-Z])(?!{_WORD_GOES_ON}|-\w|\.[A-Za-z]\.)"
    rf"|\b(?i:option|choice)\s{{1,4}}{_MARK}([A-Z])[*_`\"')\]}}]{{0,4}}{_IS_RIGHT}"
)
# what turns the choice after it into a rejected one: "I would not choose A", "The wrong answer is C"
_NO = r"(?:\b(?:not|never|cannot|wrong|incorrect|false)|n['\u2019]t)\b"
_REJECTED = re.compile(rf"{_NO}\s{{1,4}}(?:(?:the|to|even|ever|\w{{1,10}}ly)\s{{1,4}})?$", re.IGNORECASE)
_REJECTS = re.compile(_NO, re.IGNORECASE)
_BEFORE = 32  # characters before a statement that are searched for its rejection
_ARTICLE = re.compile(r"^\W*(?:a|an|the)\s+(?=\w)")
# a word ("5", "1.5", a letter with its marks), an operator, the sign of a number, the mark of "C#"
_TOKEN = re.compile(
    r"(?:\w|[^\x00-\x7f])+(?:(?<=\d)\.\d(?:\w|[^\x00-\x7f])*)*|[+<>=%/^]|(?<!\w)-(?=\.?\d)|(?<=\w)#|#(?=\w)"
)
_LABEL = re.compile(r"\s*[(\[]?([A-Z])[.):\]]\s*(?=\S)")
_TAIL = 2000  # characters at the end of the reasoning that are searched for a conclusion


def settle(trace: Trace, choices: Sequence[str]) -> tuple[str, str | None]:
    """Returns the record's `answer` and `choice`: with choices, the chosen text and its letter.

    Without choices, or if no choice can be read, the answer is the model's own text and the letter is None.
    """
    letter = read_choice(trace.answer, choices, trace.reasoning)
    return (trace.answer if letter is None else choices[ord(letter) - ord("A")]), letter


def read_choice(answer: str, choices: Sequence[str], text: str = "") -> str | None:
    """Returns the letter of the choice that `answer` names, or None.

    `choices` are option texts, at most 26, with or without their letters. Accepted forms are a letter ("C", "(C)",
    "**C**", "option C"), a letter and text ("C. because …"), an option's text, and "the answer is C". If `answer` is
    empty, the last statement of the form "the answer is C" in `text` counts. Several letters, or a letter beyond the
    choices, give None.
    """
    if not choices:
        return None
    letters = ascii_uppercase[: len(choices)]
    given = _plain(answer)
    letter = _alone(given)
    if letter is None and given:
        letter = _read(given, without_labels([_plain(choice) for choice in choices]), letters)
    elif letter is None:
        letter = _stated(_plain(text[-_TAIL:]), letters)
    return letter if letter is not None and letter in letters else None


def _read(answer: str, texts: Sequence[str], letters: str) -> str | None:
    first, *others = dict.fromkeys(line.strip(AROUND) for line in answer.splitlines() if line.strip(AROUND)) or ("",)
    letter = _alone(first)
    if letter is None:
        short = _without_lead(answer)
        if len(short) == 1 and short.isupper():
            return short
        for candidate in dict.fromkeys((answer, short)):
            matches = matching(candidate, texts)
            if matches:
                return letters[matches[0]] if len(matches) == 1 else None
        letter = _named(first, texts, letters) or _labelled(answer, texts, letters)
    if letter and all(_named(line, texts, letters) in (None, letter) for line in others):
        return letter
    return _stated(answer[-_TAIL:], letters)


def _named(line: str, texts: Sequence[str], letters: str) -> str | None:
    """Returns the letter that a whole line names: alone, by the option's text, or by both ("C. text")."""
    if letter := _alone(line):
        return letter
    matches = matching(line, texts)
    if len(matches) == 1:
        return letters[matches[0]]
    labelled = _LABELLED.fullmatch(line)
    if labelled is None or matches:
        return None
    letter = labelled[1].upper()
    return letter if letter in letters and letters.index(letter) in matching(labelled[2], texts) else None


def _alone(text: str) -> str | None:
    return text.upper() if len(text) == 1 and text.isascii() and text.isalpha() else None


def _labelled(answer: str, texts: Sequence[str], letters: str) -> str | None:
    """Returns the letter before an option's text or a reason."""
    if reasoned := _REASONED.match(answer):
        return reasoned[1]
    bare = re.match(r"([A-Z])(?:,|\s)", answer)
    if bare and bare[1] in letters and letters.index(bare[1]) in matching(answer[bare.end() :], texts):
        return bare[1]
    labelled = _LABELLED.match(answer)
    if labelled is None or re.match(r"[A-Za-z]\.", labelled[2]):  # "U.S.", "e.g."
        return None
    if labelled[1].islower() and not labelled[2][:1].isspace():
        return None
    letter, rest = labelled[1].upper(), labelled[2]
    if letter in letters and letters.index(letter) in matching(rest, texts):
        return letter
    if _repeats(letter, rest, texts, letters):
        return None
    more = _MORE.match(rest)
    next_label = re.search(r"(?m)^\s{0,8}[(\[]?([A-Z])[.):\]]", rest)  # repeats the options, chooses none
    if (more and more[1] in letters) or (next_label and ord(next_label[1]) == ord(letter) + 1):
        return None
    return letter


def _repeats(letter: str, rest: str, texts: Sequence[str], letters: str) -> bool:
    """Whether a label's own text is followed at once by the next label and its text: a list of the options."""
    number = letters.find(letter) + 1
    if not 0 < number < len(texts):
        return False
    return f"{words(rest)} ".startswith(f"{words(texts[number - 1])} {words(f'{letters[number]} {texts[number]}')} ")


def _stated(text: str, letters: str) -> str | None:
    """Returns the letter of the last "the answer is C" in `text`; None if it continues as "C or D" or "A man …".

    "The wrong answer is C" and "I would not choose C" do not count.
    """
    found = (each for each in _STATEMENT.finditer(text) if not _is_rejected(text, each.start()))
    last = max(found, key=re.Match.start, default=None)
    if last is None:
        return None
    letter, rest = last[1] or last[2], text[last.end() :].lstrip("*_`)]}" + _QUOTES)
    more = _MORE.match(rest)
    if last[1] and more and more[1] in letters and re.match(r"\s*(?:,|/|&|\+|and\b|or\b)", rest):
        return None
    if last[1] in ("A", "I") and re.match(rf"\s+(?!{_BECAUSE})\w", rest):
        return None
    return letter


def _is_rejected(text: str, start: int) -> bool:
    """Whether the statement at `start` follows "not", "wrong" and the like."""
    return _REJECTED.search(text[max(0, start - _BEFORE) : start]) is not None


def _without_lead(answer: str) -> str:
    """Returns `answer` without "The answer is", "Option" and surrounding punctuation; "The wrong answer is" stays."""
    lead = _LEAD.match(answer.lstrip(AROUND))
    if lead and _REJECTS.search(lead[0]):
        lead = None
    return (answer.lstrip(AROUND)[lead.end() :] if lead else answer).strip(AROUND)


def matching(answer: str, texts: Sequence[str]) -> list[int]:
    """Returns the indices of texts equal to `answer`, ignoring case, whitespace and outer punctuation.

    If none is equal, a leading article and all punctuation are ignored too, except what changes the meaning: signs,
    operators, and the points of numbers.
    """
    for normal in (_normal, words):
        wanted = normal(answer)
        matches = [index for index, text in enumerate(texts) if wanted and normal(text) == wanted]
        if matches:
            return matches
    return []


def without_labels(choices: Sequence[str]) -> tuple[str, ...]:
    """Returns the choices as written; if all have their own letters ("A. text"), without the letters."""
    labels = [label for choice in choices if (label := _LABEL.match(choice))]
    if [label[1] for label in labels] == list(ascii_uppercase[: len(choices)]):
        return tuple(label.string[label.end() :].strip() for label in labels)
    return tuple(choice.strip() for choice in choices)


def _plain(text: str) -> str:
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    for _ in range(2 if "\\" in plain else 0):  # \boxed{\text{C}}
        plain = _BOXED.sub(r"\1", plain)
    return plain.strip()


def _normal(text: str) -> str:
    return " ".join(_folded(text).split()).strip(" *_`" + _POINTS + _QUOTES)


def words(text: str) -> str:
    """Returns the words, numbers, signs and operators of a text in lower case, without a leading article."""
    plain = _ARTICLE.sub("", _folded(text), count=1)
    if not plain.isascii():
        plain = "".join(each if each.isascii() or _is_part(each) else " " for each in plain)
    return " ".join(_TOKEN.findall(plain))


def _is_part(character: str) -> bool:
    """Whether a character beyond ASCII is part of a word, a combining mark (vowel signs) or an operator."""
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Sm")


def _folded(text: str) -> str:
    """Returns `text` in lower case, in one form of Unicode, with "-" for the sign U+2212."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold()).replace("\u2212", "-")
