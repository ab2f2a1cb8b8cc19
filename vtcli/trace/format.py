"""The format reward of the paper's GRPO stage, in linear time.

The definition, as Video-Thinker's reward function has it, is a pair of findall patterns; their lazy `.*?`
rescans the rest of the text for each opening tag, which is quadratic on a text of opening tags only. The scans
below find the same matches going forward once.
"""

from __future__ import annotations

import re

_FLAGS = re.IGNORECASE  # as the original: Unicode case folding included


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, _FLAGS)


_ELEMENTS = {name: (_pattern(f"<{name}>"), _pattern(f"</{name}>")) for name in ("time", "caption", "think", "answer")}
_BLOCK = (
    _pattern("<time>"),
    _pattern(r"</time>\s*<caption>"),
    _pattern(r"</caption>\s*<think>"),
    _pattern("</think>"),
)
_TAG = _pattern("</?(?:time|caption|think|answer)>")
_JOINT = _pattern(r"</time>\s*<caption>|</caption>\s*<think>")
_AS_ASKED = ["<time>", "</time>", "<caption>", "</caption>", "<think>", "</think>"]


def format_ok(text: str) -> bool:
    """Whether `text` earns the format reward.

    There is at least one block `<time>.*?</time>\\s*<caption>.*?</caption>\\s*<think>.*?</think>`; times, captions
    and thinks are as many as blocks; there is exactly one `<answer>.*?</answer>`. Neither the syntax of the times
    nor the place of the answer counts.
    """
    tags = _TAG.findall(text)
    asked = (len(tags) - 2) // len(_AS_ASKED)
    if asked > 0 and tags == [*_AS_ASKED * asked, "<answer>", "</answer>"]:  # most traces: two scans tell
        return len(_JOINT.findall(text)) == 2 * asked
    if _count(text, _ELEMENTS["answer"]) != 1:
        return False
    blocks = _count(text, _BLOCK)
    return blocks > 0 and all(_count(text, _ELEMENTS[name]) == blocks for name in ("time", "caption", "think"))


def _count(text: str, steps: tuple[re.Pattern[str], ...]) -> int:
    """How many matches findall has for `steps` joined by a lazy `.*?`.

    Taking each step's first occurrence is what the lazy pattern matches: if a later step is missing after it, it is
    missing after every later occurrence too, and for every later start.
    """
    count, position = 0, 0
    while True:
        for step in steps:
            match = step.search(text, position)
            if match is None:
                return count
            position = match.end()
        count += 1
