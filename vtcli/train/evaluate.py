"""Scores held-out records during training: greedy replies, judged by the rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from vtcli.train.encode import Encoder
from vtcli.train.records import Record
from vtcli.train.rewards import Group, form_of, score, times
from vtcli.train.rollout import Drawing, roll_out
from vtcli.train.whole import with_whole_weights

AT_ONCE = 16
"""Records answered in one batch."""


def held_out_scores(
    trainer: Any,
    encoder: Encoder,
    records: Sequence[Record],
    drawing: Drawing,
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Returns the shares of right answers and of valid format, and the mean IoU of times, 0 to 1, over all processes.

    Draws nothing at random, so evaluation does not change a run. `tell` receives how many of this process's records are
    answered, and how many it has.
    """
    import torch

    accelerator = trainer.accelerator
    mine = list(records)[accelerator.process_index :: accelerator.num_processes]
    sums = with_whole_weights(
        trainer, lambda model: greedy_sums(model, encoder, mine, drawing, accelerator.autocast, tell=tell)
    )
    total = accelerator.reduce(torch.tensor(sums, device=accelerator.device), reduction="sum")
    return shares(total.tolist())


def shares(sums: Sequence[float]) -> dict[str, float]:
    """Converts the sums of `greedy_sums` to shares; {} if there are no records."""
    count, right, valid, timed, overlap = sums
    if not count:
        return {}
    scores = {"accuracy": right / count, "format": valid / count}
    return scores | ({"iou": overlap / timed} if timed else {})


def greedy_sums(
    model: Any,
    encoder: Encoder,
    records: Sequence[Record],
    drawing: Drawing,
    precision: Callable[[], Any] = nullcontext,
    at_once: int = AT_ONCE,
    tell: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Sums over `records`: how many, right, valid, with times, and the overlap (IoU) of these.

    `tell` receives how many are done, and how many there are.
    """
    sums, form = [0.0] * 5, form_of(encoder.recipe.prompt)
    for begin in range(0, len(records), at_once):
        if tell:
            tell(begin, len(records))
        asked = records[begin : begin + at_once]
        replies = roll_out(model, [encoder.prompt(record) for record in asked], 1, drawing, precision=precision())
        for record, ids in zip(asked, replies, strict=True):
            group = Group(record, (encoder.tokenizer.decode(ids),), (len(ids),))
            timed = float(bool(record.spans))
            found = (1.0, score(record, group.texts[0]), form(group)[0], timed, timed * times(group)[0])
            sums = [one + other for one, other in zip(sums, found, strict=True)]
    if tell:
        tell(len(records), len(records))
    return sums
