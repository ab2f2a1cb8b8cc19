"""What stands between tags, as the field's regular expressions find it, in linear time.

`re.findall(r"<answer>\\s*(.*?)\\s*</answer>", text, re.DOTALL)` rescans the text for each opening tag and each blank;
a reply of a megabyte would take hours.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vtcli.trace.model import parse_trace


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


_PLAIN = re.compile(r"<answer>([^<]*)</answer>", re.ASCII | re.IGNORECASE)
_ANY = re.compile(r"</?answer>", re.ASCII | re.IGNORECASE)


@lru_cache
def _tags(name: str, ignore_case: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    flags = re.IGNORECASE if ignore_case else 0
    return re.compile(f"<{name}>", flags), re.compile(f"</{name}>", flags)
