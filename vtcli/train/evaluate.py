"""Scores on held-out records while training: greedy replies, judged by the rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtcli.train.encode import Encoder
from vtcli.train.records import Record
from vtcli.train.rewards import Group, form, score, times
from vtcli.train.rollout import Drawing, roll_out

AT_ONCE = 16
"""Records answered together."""


def held_out_scores(trainer: Any, encoder: Encoder, records: Sequence[Record], drawing: Drawing) -> dict[str, float]:
    """Shares of right answers and of valid format, and the mean overlap of times, 0 to 1, over all processes.

    Draws nothing at random, so that evaluating changes no run.
    """
    import torch

    accelerator = trainer.accelerator
    mine = list(records)[accelerator.process_index :: accelerator.num_processes]
    model = accelerator.unwrap_model(trainer.model)
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    sums = torch.zeros(5, device=accelerator.device)
    for begin in range(0, len(mine), AT_ONCE):
        asked = mine[begin : begin + AT_ONCE]
        encoded = [encoder.prompt(record) for record in asked]
        replies = roll_out(model, encoded, 1, drawing, precision=accelerator.autocast())
        for record, ids in zip(asked, replies, strict=True):
            group = Group(record, (encoder.tokenizer.decode(ids),), (len(ids),))
            spans = float(bool(record.spans))
            sums += torch.tensor(
                [1.0, score(record, group.texts[0]), form(group)[0], spans, spans * times(group)[0]],
                device=accelerator.device,
            )
    count, right, valid, timed, overlap = accelerator.reduce(sums, reduction="sum").tolist()
    if not count:
        return {}
    scores = {"accuracy": right / count, "format": valid / count}
    return scores | ({"iou": overlap / timed} if timed else {})
