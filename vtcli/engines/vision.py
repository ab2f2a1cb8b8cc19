"""Run the vision tower of transformers with fewer or faster kernels."""

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
"""Patches rotated at once: in float32 they take 1.3 MB in the 7B, which stays in a core's cache."""


def see(visual: Any, patches: NDArray[np.float32], grids: NDArray[np.int64]) -> Tensor:
    """Encodes videos with a vision tower; returns (tokens, hidden) on the tower's device and in its precision.

    patches (N, channels · time · height · width): the patches of all videos, concatenated. grids (videos, 3): the time
    steps, rows and columns of patches of each video.
    """
    import torch

    weight = next(visual.parameters())
    given, sizes = torch.from_numpy(patches).to(weight.device, visual.dtype), torch.from_numpy(grids).to(weight.device)
    with _rotating_in_parts(visual) if weight.device.type == "cpu" else nullcontext():
        output = visual(given, grid_thw=sizes)
    seen: Tensor = getattr(output, "pooler_output", output)  # transformers 4 returns the tensor itself
    return seen


def quicken(visual: Any) -> None:
    """Modifies a vision tower to compute the same result in less time; its weights stay in place."""
    visual.patch_embed.proj.forward = partial(_embed, visual.patch_embed.proj)
    gather_windows(visual)


def _embed(layer: Any, patches: Tensor) -> Tensor:
    """Computes the patch embedding of patches (N, channels, time, height, width) as a matrix product, to (N, hidden).

    The layer is a convolution with stride, kernel and patch of the same size, so it is one product per patch. A CPU's
    convolution kernel takes many times as long in bfloat16.
    """
    from torch.nn.functional import linear

    made: Tensor = linear(patches.flatten(1), layer.weight.flatten(1), layer.bias)
    return made


@contextmanager
def _rotating_in_parts(visual: Any) -> Iterator[None]:
    """Makes a vision tower's attention rotate queries and keys a few patches at a time, with the same results.

    transformers computes in float32 and writes each of about ten intermediate tensors to memory in full.
    """
    module, name = sys.modules[type(visual.blocks[0].attn).__module__], "apply_rotary_pos_emb_vision"
    usual = getattr(module, name)
    setattr(module, name, _rotate)
    try:
        yield
    finally:
        setattr(module, name, usual)


def _rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Replaces transformers' `apply_rotary_pos_emb_vision`: q, k (N, heads, size), cos, sin (N, size)."""
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
