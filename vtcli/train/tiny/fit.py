"""Trains the plain base in stages: from what a cell shows to describing a clip when told to.

What is hard for a model this small is when something happens and what it is, not the wording (models/tiny/README.md).
So after some practice on text, the vision tower learns to name what each cell holds. Then the text model learns to walk
through clips without any question while it practises reasoning on text alone, and finally to do so in a chat.
`vt train` does the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from vtcli.train.tiny.data import (
    CELL_TARGETS,
    CELLS,
    GROUPS,
    LONGEST_SECONDS,
    Batch,
    Maker,
    Practice,
    Task,
    batches,
    prefix_text,
)
from vtcli.train.tiny.forward import SharedForward

REPORT_EVERY = 100
PROBE_EVERY = 500
PROBE_CLIPS = 64
WARM_UP = 60
PRACTICE_OFFSET = 500_000
"""The clips of text-only batches are numbered this far after the stage's first clip."""


READING: tuple[Practice, ...] = ("choose", "conclude", "copy", "letters", "derive", "conclude")


@dataclass(frozen=True)
class Stage:
    """One stage: `steps` batches of `size` clips from clip number `first` on; `cells` weights the per-cell loss.

    `practice` names the contents of the text-only batch, with `practice_size` clips of its own, that comes with every
    batch of clips. The learning rate rises in 60 steps and falls linearly from `rate` to `rate_end`.
    """

    name: str
    task: Task
    first: int
    steps: int
    size: int
    rate: float
    rate_end: float
    cells: float
    practice: tuple[Practice, ...] = ()
    practice_size: int = 16


STAGES: tuple[Stage, ...] = (
    Stage("copy", "read", 7_000_000, 300, 0, 2e-3, 2e-3, cells=0.0, practice=("copy",), practice_size=64),
    Stage("read", "read", 6_000_000, 700, 0, 2e-3, 1.2e-3, cells=0.0, practice=READING, practice_size=32),
    Stage("cells", "cells", 0, 350, 16, 2e-3, 1e-3, cells=1.0),
    Stage("see", "see", 1_000_000, 900, 16, 1.2e-3, 1.0e-3, cells=0.3, practice=READING),
    Stage("settle", "see", 3_000_000, 1000, 16, 1.0e-3, 1e-5, cells=0.1, practice=READING),
    Stage("tell", "tell", 3_500_000, 350, 16, 5e-4, 1e-5, cells=0.1, practice=READING),
)


class CellHeads(nn.Module):
    """Heads used only in training.

    They read what a cell holds from the vision output, and the second from early text layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.Linear(width, classes) for classes in CELL_TARGETS.values())
        self.seconds = nn.ModuleList(nn.Linear(width, LONGEST_SECONDS + 1) for _ in range(2))

    def cell_loss(self, video: Tensor, cells: Tensor) -> Tensor:
        """video (B, 128, d), cells (B, 4, 8, 16): filled cells weigh twice as much as the many empty ones together."""
        target = cells.flatten(2)
        filled = target[:, 0] > 0
        losses = []
        for number, head in enumerate(self.cells):
            every = F.cross_entropy(head(video).float().transpose(1, 2), target[:, number], reduction="none")
            losses.append(every[filled].mean() + 0.5 * every[~filled].mean())
        return torch.stack(losses).mean()

    def second_loss(self, early: tuple[Tensor, ...], seconds: Tensor) -> Tensor:
        """early: (B, 128, d) of two layers; seconds (B, 8)."""
        target = seconds[:, :, None].expand(-1, -1, CELLS).reshape(seconds.shape[0], GROUPS * CELLS)
        found = [
            F.cross_entropy(head(x).float().transpose(1, 2), target)
            for head, x in zip(self.seconds, early, strict=True)
        ]
        return torch.stack(found).mean()


class _Stream(IterableDataset[Batch]):
    def __init__(self, tokenizer: Tokenizer, task: Task | tuple[Practice, ...], stage: Stage) -> None:
        self.tokenizer, self.task, self.stage = tokenizer, task, stage

    def __iter__(self) -> Iterator[Batch]:
        stage, maker = self.stage, Maker(self.tokenizer, "train")
        first, size = stage.first, stage.size
        if self.task != stage.task:
            first, size = first + PRACTICE_OFFSET, stage.practice_size
        yield from batches(maker, self.task, first, stage.steps, size)


def _stream(tokenizer: Tokenizer, task: Task | tuple[Practice, ...], stage: Stage) -> Iterator[Batch]:
    loader = DataLoader(_Stream(tokenizer, task, stage), batch_size=None, num_workers=1, prefetch_factor=8)
    return iter(loader)


class Trainer:
    """Holds the model, its training-only heads and the log; `run` trains one stage."""

    def __init__(self, model: Any, tokenizer: Tokenizer, log: Path) -> None:
        self.model, self.tokenizer, self.log = model, tokenizer, log
        self.forward = SharedForward(model)
        self.heads = CellHeads(model.config.get_text_config().hidden_size)
        self.prefix = torch.tensor(tokenizer.encode(prefix_text()).ids)
        self.parameters = [*model.parameters(), *self.heads.parameters()]

    def run(self, stage: Stage) -> None:
        """Trains one stage from its beginning."""
        optimiser = torch.optim.AdamW(self.parameters, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.02)
        clips = _stream(self.tokenizer, stage.task, stage) if stage.size else None
        texts = _stream(self.tokenizer, stage.practice, stage) if stage.practice else None
        sums: dict[str, float] = {}
        began = time.monotonic()
        for step in range(1, stage.steps + 1):
            share = step / stage.steps
            rate = (stage.rate + (stage.rate_end - stage.rate) * share) * min(1.0, step / WARM_UP)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", dtype=torch.bfloat16):
                losses = self._clip_losses(next(clips), stage) if clips is not None else {}
                if texts is not None:
                    losses["practice"] = self._text_loss(next(texts))
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            if step % REPORT_EVERY == 0 or step == stage.steps:
                since = (step - 1) % REPORT_EVERY + 1
                mean = {name: round(total / since, 4) for name, total in sums.items()}
                self._write(stage=stage.name, step=step, minutes=round((time.monotonic() - began) / 60, 2), **mean)
                sums.clear()
            if clips is not None and (step % PROBE_EVERY == 0 or step == stage.steps):
                self._write(stage=stage.name, step=step, **self.probe(stage.task))

    def _clip_losses(self, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        video = self.forward.see(torch.from_numpy(batch.frames))
        losses = {"cells": stage.cells * self.heads.cell_loss(video, torch.from_numpy(batch.cells))}
        if stage.task != "cells":
            prefix = self._prefix(stage.task)
            hidden = self.forward.read(prefix, video, torch.from_numpy(batch.steps), torch.from_numpy(batch.ids))
            losses["text"] = self._token_loss(hidden.last, batch)
            losses["seconds"] = 0.1 * self.heads.second_loss(hidden.early, torch.from_numpy(batch.seconds))
        return losses

    def _prefix(self, task: Task) -> Tensor:
        return self.prefix if task == "tell" else self.prefix[:0]

    def _text_loss(self, batch: Batch) -> Tensor:
        hidden = self.forward.read(self.prefix[:0], None, None, torch.from_numpy(batch.ids))
        return 0.5 * self._token_loss(hidden.last, batch)

    def _token_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        weights = torch.from_numpy(batch.weights)[:, 1:]
        asked = weights > 0
        logits = self.forward.logits(hidden[:, :-1][asked]).float()
        every = F.cross_entropy(logits, torch.from_numpy(batch.ids)[:, 1:][asked], reduction="none")
        return (every * weights[asked]).sum() / weights.sum()

    @torch.no_grad()
    def probe(self, task: Task) -> dict[str, float]:
        """Returns the shares of validation clips whose every token of a kind is right, given the true text before it.

        Also returns the accuracy of the cell heads on filled cells.
        """
        found: dict[str, float] = {}
        for name, seconds in (("", None), ("8s_", 8.0)):
            batch = next(batches(Maker(self.tokenizer, "validation", seconds), task, 0, 1, PROBE_CLIPS))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                video = self.forward.see(torch.from_numpy(batch.frames))
            cells = torch.from_numpy(batch.cells).flatten(2)
            filled = cells[:, 0] > 0
            if not name:
                for number, (target, head) in enumerate(zip(CELL_TARGETS, self.heads.cells, strict=True)):
                    right = head(video.float()).argmax(-1) == cells[:, number]
                    found[target] = round(right[filled].float().mean().item(), 3)
            if task == "cells":
                continue
            prefix = self._prefix(task)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = self.forward.read(prefix, video, torch.from_numpy(batch.steps), torch.from_numpy(batch.ids))
                guess = self.forward.logits(hidden.last[:, :-1]).argmax(-1)
            right = guess == torch.from_numpy(batch.ids)[:, 1:]
            weights = torch.from_numpy(batch.weights)[:, 1:]
            for kind, weight in (("look", 1.5), ("rest", 1.0), ("answer", 3.0)):
                rows = (right | (weights != weight)).all(1).float().mean().item()
                found[name + kind] = round(rows, 3)
        return found

    def _write(self, **row: Any) -> None:
        line = json.dumps(row)
        print(line, flush=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
