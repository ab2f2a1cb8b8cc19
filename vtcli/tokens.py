"""How video becomes tokens: the sizes the Qwen2.5-VL family cuts it by. Imports nothing, so that plans are quick."""

from __future__ import annotations

FRAME_FACTOR = 2  # frames go to the model in pairs (temporal_patch_size)
IMAGE_FACTOR = 28  # pixels of one token's side: patch_size 14, merge_size 2


def video_token_count(grid: tuple[int, int, int], merge_size: int = 2) -> int:
    """Tokens a clip of `grid` (T, H, W) patches takes: merge_size x merge_size patches make one."""
    t, h, w = grid
    return t * (h // merge_size) * (w // merge_size)
