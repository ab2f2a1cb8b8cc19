"""The vision tower of a checkpoint: transformers' own, with what keeps a processor waiting done in another way.

The numbers are the same but for the order of sums. What is relied on is named alike in every release admitted: a patch
embedding's `proj`, a block's `attn` with its `qkv`, `proj`, `num_heads` and `scaling`, and what an `attn` is given.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 2048
"""Patches that a processor encodes at once. Matrix products are hardly faster with more, and what lies between them
outgrows the caches."""


def speed_up(visual: Any) -> None:
    """Replaces what the tower's patch embedding and its attention do; its weights stay where they are."""
    visual.patch_embed.proj.forward = partial(_embed, visual.patch_embed.proj)
    for block in visual.blocks:
        block.attn.forward = partial(_attend, block.attn)


def encode(visual: Any, patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Embeddings (video tokens, hidden) of `patches` (T·H·W, values), of the tower's type and on its device.

    Pairs of frames do not see each other in the tower: on a processor some go through it at a time.
    """
    import torch

    steps, height, width = grid
    each = height * width
    most = max(1, _ROWS // each) if patches.device.type == "cpu" else steps
    made = []
    for begin in range(0, steps, most):
        count = min(most, steps - begin)
        sizes = torch.tensor([[count, height, width]], device=patches.device)
        output = visual(patches[begin * each : (begin + count) * each], grid_thw=sizes)
        made.append(getattr(output, "pooler_output", output))  # transformers 4 gives the tensor itself
    return torch.cat(made)


def _embed(layer: Any, patches: Tensor) -> Tensor:
    """A convolution whose steps are as wide as its kernel, over patches (N, channels, time, height, width) as large.

    That is one product for each patch, to (N, hidden), for which a processor's kernel for convolutions takes many times
    as long in bfloat16.
    """
    from torch.nn.functional import linear

    made: Tensor = linear(patches.flatten(1), layer.weight.flatten(1), layer.bias)
    return made


def _attend(
    attention: Any, hidden: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> Tensor:
    """Attention within windows, hidden (N, hidden) to the same, those of one size together.

    `cu_seqlens` (windows + 1) is where windows begin and the last ends; `position_embeddings` are cosines and sines
    (N, head size).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys, values = attention.qkv(hidden).view(len(hidden), 3, attention.num_heads, -1).unbind(1)
    cos, sin = (numbers.float()[:, None] for numbers in position_embeddings)
    queries, keys = _turned(queries, cos, sin), _turned(keys, cos, sin)
    begins, sizes = cu_seqlens[:-1], cu_seqlens.diff()
    seen = torch.empty_like(queries)
    for size in sorted(set(sizes.tolist())):
        rows = (begins[sizes == size][:, None] + torch.arange(size, device=hidden.device)).flatten()
        query, key, value = (each[rows].unflatten(0, (-1, size)).transpose(1, 2) for each in (queries, keys, values))
        found = scaled_dot_product_attention(query, key, value, scale=attention.scaling)
        seen[rows] = found.transpose(1, 2).flatten(0, 1)
    made: Tensor = attention.proj(seen.flatten(1))
    return made


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in float32: states (N, heads, size), cos and sin (N, 1, size)."""
    wide, half = states.float(), states.shape[-1] // 2
    turned = wide * cos
    turned[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    turned[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return turned.to(states.dtype)
