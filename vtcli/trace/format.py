"""The format reward of the paper's GRPO stage, in linear time.

Video-Thinker's reward function defines it by findall patterns. Their lazy `.*?` rescans the rest of the text for each
opening tag, which is quadratic on a text of opening tags only. The scans below find the same matches in one forward
pass.
"""

from __future__ import annotations

import re

_FLAGS = re.IGNORECASE  # as in the original, including Unicode case folding


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

    `text` must contain at least one block `<time>.*?</time>\\s*<caption>.*?</caption>\\s*<think>.*?</think>`, as many
    times, captions and thinks as blocks, and exactly one `<answer>.*?</answer>`. The syntax of the times and the place
    of the answer do not count.
    """
    tags = _TAG.findall(text)
    asked = (len(tags) - 2) // len(_AS_ASKED)
    if asked > 0 and tags == [*_AS_ASKED * asked, "<answer>", "</answer>"]:  # most traces: two scans suffice
        return len(_JOINT.findall(text)) == 2 * asked
    if _count(text, _ELEMENTS["answer"]) != 1:
        return False
    blocks = _count(text, _BLOCK)
    return blocks > 0 and all(_count(text, _ELEMENTS[name]) == blocks for name in ("time", "caption", "think"))


def _count(text: str, steps: tuple[re.Pattern[str], ...]) -> int:
    """Returns the number of findall matches for `steps` joined by a lazy `.*?`.

    The lazy pattern matches the first occurrence of each step: if a later step is missing after that occurrence, it is
    also missing after every later occurrence and for every later start.
    """
    count, position = 0, 0
    while True:
        for step in steps:
            match = step.search(text, position)
            if match is None:
                return count
            position = match.end()
        count += 1
