"""Extracts the contents of tags in linear time, with the results of the regular expressions in common use.

`re.findall(r"<answer>\\s*(.*?)\\s*</answer>", text, re.DOTALL)` rescans the text for each opening tag and each blank;
a reply of one megabyte would take hours.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vtcli.scoring.spans import Span
from vtcli.trace.model import parse_trace
from vtcli.trace.parser import parse_events
from vtcli.trace.times import parse_range


def contents(text: str, name: str = "answer", ignore_case: bool = True) -> list[str]:
    """Returns the stripped contents of `<name>…</name>` elements, each from an opening tag to the next closing one."""
    opening, closing = _tags(name, ignore_case)
    found: list[str] = []
    position = 0
    while (start := opening.search(text, position)) and (end := closing.search(text, start.end())):
        found.append(text[start.end() : end.start()].strip())
        position = end.end()
    return found


def answer_text(reply: str) -> str:
    """Returns a reply's last closed, non-empty answer; "" without one.

    A reply without markup is its own answer. An unclosed answer, which `vtcli.trace.model.Trace.answer` keeps for
    display, does not count: the reply was cut off in it. Most replies have one plain answer, for which nothing else is
    parsed.
    """
    if "<" not in reply:
        return reply.strip()
    found = _PLAIN.findall(reply)
    if len(found) == 1 and found[0].strip() and len(_ANY.findall(reply)) == 2:
        return str(found[0].strip())
    return _closed_answer(reply)


def _closed_answer(reply: str) -> str:
    answer, parts, markup = "", list[str](), False
    for event in parse_events(reply):
        markup = markup or event.kind != "text" or event.raw != event.text
        if event.kind != "answer":
            continue
        if event.opens:
            parts = []
        parts.append(event.text)
        if event.closes and not event.cut:
            answer = "".join(parts).strip() or answer
    return answer if markup else reply.strip()


def told_times(reply: str) -> list[Span]:
    """Returns the readable `<time>` spans of `parse_trace(reply)`; if it has none, the answer if that is a time."""
    told = _plain_times(reply)
    if told is None:
        told = [span for segment in parse_trace(reply).segments if (span := segment.span)]
    if not told and (span := parse_range(answer_text(reply))):
        told = [span]
    return told


def _plain_times(reply: str) -> list[Span] | None:
    """Returns the spans if every time tag belongs to a plain pair outside the answer; None if parsing must decide."""
    found = _TIME.findall(reply)
    tags = _TIME_TAGS.findall(reply)
    if len(tags) != 2 * len(found) or _INLINE.search(reply):
        return None
    return [span for content in found if (span := _short_range(content))]


_short_range = lru_cache(4096)(parse_range)  # texts of at most 64 characters, which repeat often


_TIME = re.compile(r"<time>([^<]{0,64})</time>", re.ASCII | re.IGNORECASE)
_TIME_TAGS = re.compile(r"</?(?:time|t)>", re.ASCII | re.IGNORECASE)
_INLINE = re.compile(r"<answer>[^<]*<(?!/answer>)", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"<answer>([^<]*)</answer>", re.ASCII | re.IGNORECASE)
_ANY = re.compile(r"</?answer>", re.ASCII | re.IGNORECASE)


@lru_cache
def _tags(name: str, ignore_case: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    flags = re.IGNORECASE if ignore_case else 0
    return re.compile(f"<{name}>", flags), re.compile(f"</{name}>", flags)
