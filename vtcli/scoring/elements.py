"""What stands between tags, as the field's regular expressions find it, in linear time.

`re.findall(r"<answer>\\s*(.*?)\\s*</answer>", text, re.DOTALL)` rescans the text for each opening tag and each blank;
a reply of a megabyte would take hours.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vtcli.scoring.spans import Span
from vtcli.trace.model import parse_trace
from vtcli.trace.times import parse_range


def contents(text: str, name: str = "answer", ignore_case: bool = True) -> list[str]:
    """The stripped contents of the elements `<name>…</name>`: each from an opening tag to the next closing one."""
    opening, closing = _tags(name, ignore_case)
    found: list[str] = []
    position = 0
    while (start := opening.search(text, position)) and (end := closing.search(text, start.end())):
        found.append(text[start.end() : end.start()].strip())
        position = end.end()
    return found


def answer_text(reply: str) -> str:
    """`vtcli.trace.model.Trace.answer` of a reply: its last closed answer that says something, or all of it if it
    holds no markup; "" where there is none. Most replies have one plain answer, for which nothing else is parsed.
    """
    if "<" not in reply:
        return reply.strip()
    found = _PLAIN.findall(reply)
    if len(found) == 1 and found[0].strip() and len(_ANY.findall(reply)) == 2:
        return str(found[0].strip())
    return parse_trace(reply).answer


def told_times(reply: str) -> list[Span]:
    """The `<time>` spans of `parse_trace(reply)` that can be read; where there are none, the answer if it is a time."""
    told = _plain_times(reply)
    if told is None:
        told = [span for segment in parse_trace(reply).segments if (span := segment.span)]
    if not told and (span := parse_range(answer_text(reply))):
        told = [span]
    return told


def _plain_times(reply: str) -> list[Span] | None:
    """The spans where every tag of a time is one of a plain pair outside the answer; None where parsing must tell."""
    found = _TIME.findall(reply)
    tags = _TIME_TAGS.findall(reply)
    if len(tags) != 2 * len(found) or _INLINE.search(reply):
        return None
    return [span for content in found if (span := _short_range(content))]


_short_range = lru_cache(4096)(parse_range)  # of at most 64 characters, and the same ones again and again


_TIME = re.compile(r"<time>([^<]{0,64})</time>", re.ASCII | re.IGNORECASE)
_TIME_TAGS = re.compile(r"</?(?:time|t)>", re.ASCII | re.IGNORECASE)
_INLINE = re.compile(r"<answer>[^<]*<(?!/answer>)", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"<answer>([^<]*)</answer>", re.ASCII | re.IGNORECASE)
_ANY = re.compile(r"</?answer>", re.ASCII | re.IGNORECASE)


@lru_cache
def _tags(name: str, ignore_case: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    flags = re.IGNORECASE if ignore_case else 0
    return re.compile(f"<{name}>", flags), re.compile(f"</{name}>", flags)
