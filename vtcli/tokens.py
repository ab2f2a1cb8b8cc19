"""How video becomes tokens: the patch sizes of the Qwen2.5-VL family. Imports nothing, to keep planning fast."""

from __future__ import annotations

FRAME_FACTOR = 2  # frames go to the model in pairs (temporal_patch_size)
IMAGE_FACTOR = 28  # side of one token in pixels: patch_size 14, merge_size 2


def video_token_count(grid: tuple[int, int, int], merge_size: int = 2) -> int:
    """Returns the tokens of a clip of `grid` (T, H, W) patches: merge_size x merge_size patches form one token."""
    t, h, w = grid
    return t * (h // merge_size) * (w // merge_size)
