"""Turns frames into the input rows of the vision encoder: normalised and cut into patches, without torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def patchify(
    pixels: npt.NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    patch_size: int = 14,
    temporal_patch_size: int = 2,
    merge_size: int = 2,
) -> tuple[npt.NDArray[np.float32], tuple[int, int, int]]:
    """Cuts `pixels`, uint8 (N, H, W, 3), into patches as transformers' Qwen2VLVideoProcessor does.

    Returns float32 (T·Hp·Wp, 3·temporal_patch_size·patch_size²) and the grid (T, Hp, Wp) in patches. Rows are ordered
    by time, merge block, and patch within the block; columns by channel, time, row, column. N is padded to a multiple
    of `temporal_patch_size` with the last frame. Raises ValueError unless H and W are multiples of
    patch_size · merge_size.
    """
    frames, height, width, channels = pixels.shape
    block = patch_size * merge_size
    if height % block or width % block:
        raise ValueError(f"frames of {width}x{height} pixels are not multiples of {block}")
    if missing := -frames % temporal_patch_size:
        pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
    grid = (len(pixels) // temporal_patch_size, height // patch_size, width // patch_size)
    parts = pixels.reshape(
        grid[0],
        temporal_patch_size,
        grid[1] // merge_size,
        merge_size,
        patch_size,
        grid[2] // merge_size,
        merge_size,
        patch_size,
        channels,
    )
    # (T, block row, block column, row in block, column in block, channel, time, y, x), transposed as bytes: 4x cheaper.
    ordered = parts.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(-1, channels, temporal_patch_size * patch_size**2)
    levels = _levels(mean, std)
    values = np.empty(ordered.shape, np.float32)
    for channel in range(channels):
        values[:, channel] = levels[channel][ordered[:, channel]]
    return values.reshape(len(values), -1), grid


def _levels(mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """Returns the normalised value of each of the 256 levels of each channel, float32 (3, 256).

    The arithmetic is that of the processor of transformers 4.51, which the paper used: level / 255 is rounded to
    float32, then normalised in float32. Later releases fold the 255 into mean and std and differ by at most 2.4e-7.
    """
    rescaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    shift, scale = (np.asarray(v, np.float32)[:, None] for v in (mean, std))
    return np.asarray((rescaled - shift) / scale, np.float32)
