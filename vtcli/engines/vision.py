"""What the vision tower of transformers does by slow kernels, or by too many, done by fast ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from vtcli.engines.windows import gather_windows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

PART = 256
"""Patches rotated at once: what they take in float32, 1.3 MB in the 7B, stays in a core's cache."""


def see(visual: Any, patches: NDArray[np.float32], grids: NDArray[np.int64]) -> Tensor:
    """What a vision tower makes of videos, (tokens, hidden), on its own device and in its own precision.

    patches (N, channels · time · height · width), all videos' after each other; grids (videos, 3), each its steps, rows
    and columns of patches.
    """
    import torch

    weight = next(visual.parameters())
    given, sizes = torch.from_numpy(patches).to(weight.device, visual.dtype), torch.from_numpy(grids).to(weight.device)
    with _rotating_in_parts(visual) if weight.device.type == "cpu" else nullcontext():
        output = visual(given, grid_thw=sizes)
    seen: Tensor = getattr(output, "pooler_output", output)  # transformers 4 gives the tensor itself
    return seen


def quicken(visual: Any) -> None:
    """Has a vision tower compute the same in less time; its weights stay where they are."""
    visual.patch_embed.proj.forward = partial(_embed, visual.patch_embed.proj)
    gather_windows(visual)


def _embed(layer: Any, patches: Tensor) -> Tensor:
    """A convolution whose steps are as wide as its kernel, over patches (N, channels, time, height, width) as large.

    That is one product for each patch, to (N, hidden), for which a processor's kernel for convolutions takes many times
    as long in bfloat16.
    """
    from torch.nn.functional import linear

    made: Tensor = linear(patches.flatten(1), layer.weight.flatten(1), layer.bias)
    return made


@contextmanager
def _rotating_in_parts(visual: Any) -> Iterator[None]:
    """Has the attention of a vision tower rotate queries and keys a few patches at a time, with the same results.

    transformers computes in float32 and writes each of some ten intermediate tensors to memory whole.
    """
    module, name = sys.modules[type(visual.blocks[0].attn).__module__], "apply_rotary_pos_emb_vision"
    usual = getattr(module, name)
    setattr(module, name, _rotate)
    try:
        yield
    finally:
        setattr(module, name, usual)


def _rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' `apply_rotary_pos_emb_vision`: q, k (N, heads, size), cos, sin (N, size)."""
    return _rotated(q, cos, sin), _rotated(k, cos, sin)


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    import torch

    rotated, half = torch.empty(states.shape, dtype=states.dtype, device=states.device), states.shape[-1] // 2
    parts = (torch.split(tensor, PART) for tensor in (states, cos.unsqueeze(-2), sin.unsqueeze(-2), rotated))
    for given, cosine, sine, made in zip(*parts, strict=True):
        part = given.float()
        turned = torch.cat((-part[..., half:], part[..., :half]), -1)
        made.copy_(part * cosine.float() + turned * sine.float())
    return rotated
