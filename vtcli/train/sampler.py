"""In which order records are trained on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class GroupSampler(Sampler[int]):
    """Each record `group` times in a row, `batch` records at a time, each such batch `repeat` times.

    As TRL's RepeatSampler, but the order of an epoch follows from its number, so that a run that is resumed in its
    third epoch finds the order it would have had. Batches are whole: what is left over waits for the next epoch, where
    accelerate would fill up with records twice, others on each number of devices.
    """

    def __init__(self, count: int, group: int, batch: int, repeat: int, seed: int) -> None:
        self.count, self.group, self.batch, self.repeat, self.seed = count, group, batch, repeat, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of `epoch`."""
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
