"""The order in which records are trained on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class GroupSampler(Sampler[int]):
    """Yields each record `group` times in a row, `batch` records at a time, and each such batch `repeat` times.

    Like TRL's RepeatSampler, but the order of an epoch follows from its number, so that a run resumed in its third
    epoch finds the order it would have had. Batches are full: leftover records wait for the next epoch, whereas
    accelerate would fill up with repeated records, different ones for each number of devices.
    """

    def __init__(self, count: int, group: int, batch: int, repeat: int, seed: int) -> None:
        self.count, self.group, self.batch, self.repeat, self.seed = count, group, batch, repeat, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        for begin in range(0, self.count - self.batch + 1, self.batch):
            for _ in range(self.repeat):
                for number in order[begin : begin + self.batch]:
                    yield from [number] * self.group

    def __len__(self) -> int:
        return self.count // self.batch * self.batch * self.group * self.repeat
