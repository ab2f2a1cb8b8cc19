"""Rewards of GRPO completions, by name. The scoring itself is that of `vtcli.scoring`, as in `vt eval`.

Every reward is a function of a `Group`, a record's completions together, because some rewards compare them. It returns
one number per completion, from 0 up.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vtcli.errors import UsageError
from vtcli.scoring.rewards import (
    paper_accuracy,
    paper_format,
    video_r1_accuracy,
    video_r1_format,
    word_accuracy,
)
from vtcli.scoring.spans import Span, iou, union_iou
from vtcli.trace.model import parse_trace
from vtcli.trace.times import parse_range
from vtcli.train.records import Record


@dataclass(frozen=True)
class Group:
    """Completions of one record.

    lengths: in tokens. shuffled: completions of the same prompt with its frames in another order; () if no reward of
    the recipe needs them.
    """

    record: Record
    texts: tuple[str, ...]
    lengths: tuple[int, ...]
    shuffled: tuple[str, ...] = ()


Reward = Callable[[Group], Sequence[float]]

#: Video-R1: the share of the accuracy with shuffled frames to reach, its reward, and the accuracy to exceed for it.
_BEATEN, _TEMPORAL, _RIGHT = 0.8, 0.3, 0.1
_LENGTH, _SHORTEST, _LONGEST = 0.2, 320, 512


def score(record: Record, text: str) -> float:
    """Accuracy of one reply, 0 to 1: Video-Thinker's rule for a letter, otherwise by the kind of question."""
    if record.kind == "multiple choice":
        return paper_accuracy(text, record.solution)
    if record.kind == "temporal grounding":
        told = parse_range(parse_trace(text).answer)
        return union_iou([told], record.spans) if told else 0.0
    if record.kind == "exact":
        return float(parse_trace(text).answer.strip().casefold() == record.answer.strip().casefold())
    return video_r1_accuracy(text, record.solution, record.kind)


def accuracy(group: Group) -> list[float]:
    """The `score` of each completion."""
    return [score(group.record, text) for text in group.texts]


def form(group: Group) -> list[float]:
    """Video-Thinker's format: blocks of time, caption and think, and one answer."""
    return [paper_format(text) for text in group.texts]


def video_r1_form(group: Group) -> list[float]:
    """Video-R1's format: one think and one answer, nothing else."""
    return [video_r1_format(text) for text in group.texts]


def times(group: Group) -> list[float]:
    """IoU of the `<time>` spans of each completion with the true spans; 0 if the record has none."""
    if not group.record.spans:
        return [0.0] * len(group.texts)
    told = [[span for span, _ in _told(text)] for text in group.texts]
    return [union_iou(spans, group.record.spans) for spans in told]


def captions(group: Group) -> list[float]:
    """How well a completion's times and captions match the record's own trace; 0 if that has none.

    Each segment of the trace is scored by its best match among the completion's segments: the IoU of their times,
    multiplied by the share of the caption's words that are right. The sum is divided by the number of segments of the
    trace or of the completion, whichever has more.
    """
    wanted = _told(group.record.process)
    return [_agreement(wanted, _told(text)) for text in group.texts]


def _agreement(wanted: Sequence[tuple[Span, str]], told: Sequence[tuple[Span, str]]) -> float:
    if not wanted:
        return 0.0
    best = (
        max((iou(span, other) * word_accuracy(caption, said) for other, said in told), default=0.0)
        for span, caption in wanted
    )
    return sum(best) / max(len(wanted), len(told))


def _told(text: str) -> list[tuple[Span, str]]:
    """Returns the times and captions of a trace's segments, if the times can be read."""
    return [(span, segment.caption) for segment in parse_trace(text).segments if (span := segment.span)]


def temporal(group: Group) -> list[float]:
    """Video-R1's: +0.3 for each right completion if the group does about as well as with shuffled frames, or better."""
    right = accuracy(group)
    shuffled = [score(group.record, text) for text in group.shuffled]
    mean = sum(shuffled) / len(shuffled) if shuffled else 0.0
    earned = bool(shuffled) and sum(right) / len(right) >= _BEATEN * mean
    return [_TEMPORAL if earned and value > _RIGHT else 0.0 for value in right]


def length(group: Group) -> list[float]:
    """Video-R1's: +0.2 for right completions of 320 to 512 tokens, if at least two of the group are right."""
    right = [value > _RIGHT for value in accuracy(group)]
    fits = [_SHORTEST <= count <= _LONGEST for count in group.lengths]
    enough = sum(right) >= 2
    return [_LENGTH if enough and good and fit else 0.0 for good, fit in zip(right, fits, strict=True)]


def form_of(prompt: str) -> Reward:
    """Returns the reward for valid format in a recipe's prompt layout."""
    return video_r1_form if prompt == "video-r1" else form


REWARDS: dict[str, Reward] = {
    "accuracy": accuracy,
    "format": form,
    "video-r1-format": video_r1_form,
    "times": times,
    "captions": captions,
    "temporal": temporal,
    "length": length,
}
NEED_SHUFFLED = ("temporal",)


def find_reward(name: str) -> Reward:
    """Returns the reward `name`: one of `REWARDS`, or a "module:function" of the user's own. Raises UsageError."""
    if name in REWARDS:
        return REWARDS[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(f"no such reward: {name} (there are: {', '.join(REWARDS)}, or MODULE:FUNCTION of your own)")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # where the user's own modules are, as with `python -m`
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"the reward {name} cannot be imported: {error}") from error
    if not callable(found):
        raise UsageError(f"the reward {name} is no function")

    def checked(group: Group) -> Sequence[float]:
        values = found(group)
        if len(values) != len(group.texts):
            raise UsageError(f"the reward {name} gave {len(values)} numbers for {len(group.texts)} completions")
        return [float(value) for value in values]

    return checked
