"""Completions by transformers' generate, called as TRL's GRPOTrainer calls it, with vt's ids, patches and positions.

One row per completion, each with its prompt and its video; every row is computed until the last one has ended. Follows
TRL 1.16 (`GRPOTrainer._generate_single_turn`) and transformers 5.24. Greedily it writes what vt's own rollouts write.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from vtcli.train.batches import videos
from vtcli.train.encode import Encoded
from vtcli.train.rollout import Drawing


def generate(
    model: Any, prompts: Sequence[Encoded], copies: int, drawing: Drawing, _: object = None, precision: Any = None
) -> list[list[int]]:
    """Takes the place of `vtcli.train.rollout.roll_out`; draws with torch's generator, not with the given numbers."""
    from transformers import GenerationConfig

    rows = [prompt for prompt in prompts for _ in range(copies)]
    device = model.get_input_embeddings().weight.device
    longest = max(row.ids.size for row in rows)
    shape = len(rows), longest
    ids, mask, types = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    positions = torch.zeros(3, *shape, dtype=torch.long)
    for i, row in enumerate(rows):
        own = torch.from_numpy(row.ids)
        begin = longest - len(own)
        ids[i, begin:], mask[i, begin:], positions[:, i, begin:] = own, 1, torch.from_numpy(row.positions)
        types[i, begin:] = (own == row.token_id) * (1 if row.pictures else 2)
    ahead = torch.tensor([[row.next_position - row.ids.size] for row in rows])
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, **videos(rows)}
    settings = GenerationConfig(
        max_new_tokens=drawing.max_tokens,
        do_sample=drawing.temperature > 0,
        temperature=drawing.temperature or 1.0,
        top_p=drawing.top_p,
        top_k=0,
        pad_token_id=next(iter(drawing.ends)),
        eos_token_id=sorted(drawing.ends),
        suppress_tokens=sorted(drawing.forbidden),
        disable_compile=True,
    )
    inner, training = model.model, model.training
    inner.get_rope_index = lambda *_, **__: (positions.to(device), ahead.to(device))
    model.eval()
    try:
        with torch.no_grad(), precision or nullcontext():
            given = {name: tensor.to(device) for name, tensor in inputs.items()}
            drawn = model.generate(**given, generation_config=settings)[:, longest:].cpu()
    finally:
        del inner.get_rope_index
        model.train(training)
    ended = torch.isin(drawn, torch.tensor(sorted(drawing.ends)))
    lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, drawn.shape[1])
    return [row[:length].tolist() for row, length in zip(drawn, lengths.tolist(), strict=True)]
