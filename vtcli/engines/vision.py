"""What the vision tower of transformers does on a processor by a slow kernel, done by a fast one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def multiply_patches(visual: Any) -> None:
    """Has the patch embedding of a vision tower be the matrix product it is; its weights stay where they are."""
    visual.patch_embed.proj.forward = partial(_embed, visual.patch_embed.proj)


def _embed(layer: Any, patches: Tensor) -> Tensor:
    """A convolution whose steps are as wide as its kernel, over patches (N, channels, time, height, width) as large.

    That is one product for each patch, to (N, hidden), for which a processor's kernel for convolutions takes many times
    as long in bfloat16.
    """
    from torch.nn.functional import linear

    made: Tensor = linear(patches.flatten(1), layer.weight.flatten(1), layer.bias)
    return made
