"""Batch the vision tower's attention over windows of equal size, for devices where each kernel launch costs time."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

ONE_BY_ONE = ("cpu", "mps")
"""Device types that process windows one at a time: a CPU is faster while a window is in its cache, and Metal's kernels
have computed transposed batches wrongly (pytorch/pytorch#181133)."""


def gather_windows(visual: Any) -> None:
    """Modifies a vision tower's attention to process windows of equal size together; each still sees only itself.

    transformers calls attention separately for each window, 10,880 times for 64 frames of 252 x 448 pixels in the 7B,
    and waits in each block for the device to return the window lengths.
    """
    for block in visual.blocks:
        block.attn.forward = partial(_forward, block.attn)


@dataclass(frozen=True)
class _Windows:
    """Windows of N patches.

    `sizes` holds pairs (size, count). `order` (N,) groups the patches by window size and `back` undoes that; both are
    None if all windows have one size.
    """

    sizes: tuple[tuple[int, int], ...]
    order: Tensor | None
    back: Tensor | None


def _forward(attention: Any, hidden_states: Tensor, cu_seqlens: Tensor, **named: Any) -> Tensor:
    """Replaces transformers' attention forward: patches (N, hidden) to (N, hidden); windows end at `cu_seqlens`."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if attention.config._attn_implementation != "sdpa" or hidden_states.device.type in ONE_BY_ONE:
        usual: Tensor = type(attention).forward(attention, hidden_states, cu_seqlens=cu_seqlens, **named)
        return usual
    windows = _windows(cu_seqlens)
    given = (hidden_states, *named["position_embeddings"])
    if windows.order is not None:
        given = tuple(tensor.index_select(0, windows.order) for tensor in given)
    patches, cos, sin = given
    query, key, value = attention.qkv(patches).unflatten(1, (3, attention.num_heads, -1)).unbind(1)
    query, key = sys.modules[type(attention).__module__].apply_rotary_pos_emb_vision(query, key, cos, sin)
    found, begin = [], 0
    for size, count in windows.sizes:
        end = begin + size * count
        q, k, v = (states[begin:end].unflatten(0, (count, size)).transpose(1, 2) for states in (query, key, value))
        seen = scaled_dot_product_attention(q, k, v, scale=attention.scaling)  # (windows, heads, size, head)
        found.append(seen.transpose(1, 2).reshape(end - begin, -1))
        begin = end
    made: Tensor = attention.proj(torch.cat(found))
    return made if windows.back is None else made.index_select(0, windows.back)


def _windows(ends: Tensor) -> _Windows:
    """Returns the windows between `ends` (0, …, N), computed once for all blocks that receive this tensor."""
    import torch

    known: _Windows | None = getattr(ends, "vt_windows", None)
    if known is not None:
        return known
    begins, by_size = ends.tolist(), defaultdict(list)
    for begin, end in pairwise(begins):
        by_size[end - begin].append(begin)
    sizes = tuple((size, len(starts)) for size, starts in by_size.items())
    order = back = None
    if len(sizes) > 1:
        of_size = [np.add.outer(starts, np.arange(size)).reshape(-1) for size, starts in by_size.items()]
        places = np.concatenate(of_size)
        order, back = (torch.from_numpy(each).to(ends.device) for each in (places, np.argsort(places)))
    windows = _Windows(sizes, order, back)
    ends.vt_windows = windows  # type: ignore[attr-defined]
    return windows
