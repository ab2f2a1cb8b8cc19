"""Builds the tensors of one forward pass from encoded records: a padded batch for SFT, shared prompts for GRPO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcli.engines.decoder import masks
from vtcli.train.encode import Encoded, Encoder, Example
from vtcli.train.records import Record
from vtcli.train.shared import Branches

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""Label of a token that is not learned: the `ignore_index` of torch's cross entropy."""


class Collator:
    """Turns record numbers into an SFT batch. Picklable, for data loader workers."""

    def __init__(self, encoder: Encoder, records: Sequence[Record], pad: int) -> None:
        self.encoder, self.records, self.pad = encoder, records, pad

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        return sft_batch([self.encoder.example(self.records[row["number"]]) for row in rows], self.pad)


def sft_batch(examples: Sequence[Example], pad: int) -> dict[str, Tensor]:
    """Batches B examples, padded on the right; only the replies are labels.

    input_ids, attention_mask, labels (B, L); position_ids (3, B, L). If there are videos, also pixel_values_videos and
    video_grid_thw; if there are pictures, pixel_values and image_grid_thw.
    """
    import torch

    longest = max(example.prompt.ids.size + example.reply.size for example in examples)
    shape = len(examples), longest
    ids, labels = np.full(shape, pad, np.int64), np.full(shape, IGNORED, np.int64)
    mask, positions = np.zeros(shape, np.int64), np.zeros((3, *shape), np.int64)
    for row, example in enumerate(examples):
        prompt, reply = example.prompt, example.reply
        begin, end = prompt.ids.size, prompt.ids.size + reply.size
        ids[row, :begin], ids[row, begin:end] = prompt.ids, reply
        labels[row, begin:end], mask[row, :end] = reply, 1
        positions[:, row, :begin] = prompt.positions
        positions[:, row, begin:end] = prompt.next_position + np.arange(reply.size)
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "labels": labels}
    tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
    return tensors | videos([example.prompt for example in examples])


def videos(prompts: Sequence[Encoded]) -> dict[str, Tensor]:
    """Joins the videos and pictures of all prompts, under the names of transformers' forward; {} if there are none."""
    import torch

    found = {}
    names = {False: ("pixel_values_videos", "video_grid_thw"), True: ("pixel_values", "image_grid_thw")}
    for pictures, (patches, grids) in names.items():
        own = [prompt for prompt in prompts if len(prompt.grids) and prompt.pictures == pictures]
        if own:
            found[patches] = torch.from_numpy(np.concatenate([prompt.patches for prompt in own]))
            found[grids] = torch.from_numpy(np.concatenate([prompt.grids for prompt in own]))
    return found


def shared_batch(prompts: Sequence[Encoded], completions: Sequence[Sequence[Tensor]], pad: int) -> dict[str, Any]:
    """Batches one row per prompt: the prompt once, then its completions side by side, unseen by each other.

    The prompt's last token is repeated before each completion, because it predicts the completion's first token. Keys
    are those of `sft_batch`, except that attention_mask holds `Branches` for each kind of layer, for a model prepared
    by `use_shared`, and labels are already shifted: shift_labels[i] is the token after token i. The labels are in the
    order of the completions.
    """
    import torch

    rows = [_row(prompt, own) for prompt, own in zip(prompts, completions, strict=True)]
    longest = max(len(ids) for ids, *_ in rows)
    shape = len(rows), longest
    ids, labels = torch.full(shape, pad), torch.full(shape, IGNORED)
    positions = torch.zeros(3, *shape, dtype=torch.long)
    for number, (own_ids, own_positions, own_labels) in enumerate(rows):
        length = len(own_ids)
        ids[number, :length], labels[number, :length] = own_ids, own_labels
        positions[:, number, :length] = own_positions
    lengths = [
        (prompt.ids.size - 1, [len(each) for each in own]) for prompt, own in zip(prompts, completions, strict=True)
    ]
    mask = masks(Branches.of(lengths))
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "shift_labels": labels}
    return batch | videos(prompts)


def _row(prompt: Encoded, completions: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the ids (L,), positions (3, L) and labels (L,) of one row."""
    import torch

    known, where = torch.from_numpy(prompt.ids), torch.from_numpy(prompt.positions)
    last, start = known[-1:], prompt.next_position
    ids, positions = [known[:-1]], [where[:, :-1]]
    labels = [torch.full((len(known) - 1,), IGNORED)]
    for completion in completions:
        ids += [last, completion[:-1]]
        after = torch.arange(start, start + len(completion) - 1).expand(3, -1)
        positions += [where[:, -1:], after]
        labels.append(completion)
    return torch.cat(ids), torch.cat(positions, 1), torch.cat(labels)
