"""Frames → the rows the vision encoder takes: normalised and cut into patches, without torchvision."""

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
    """Patches of `pixels`, uint8 (N, H, W, 3), as transformers' Qwen2VLVideoProcessor makes them.

    Returns float32 (T·Hp·Wp, 3·temporal_patch_size·patch_size²) and the grid (T, Hp, Wp), counted in patches. Rows go
    time, then merge block by block, then the patches of a block; columns go channel, time, row, column. N is filled up
    to a multiple of `temporal_patch_size` with the last frame. Raises ValueError unless H and W are multiples of
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
    # (T, block row, block column, row in block, column in block, channel, time, y, x), moved as bytes: 4 x cheaper.
    ordered = parts.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(-1, channels, temporal_patch_size * patch_size**2)
    levels = _levels(mean, std)
    values = np.empty(ordered.shape, np.float32)
    for channel in range(channels):
        values[:, channel] = levels[channel][ordered[:, channel]]
    return values.reshape(len(values), -1), grid


def _levels(mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """float32 (3, 256): what each of the 256 levels of a channel becomes.

    The arithmetic of the processor of transformers 4.51, the paper's: level / 255 rounded to float32, then normalised
    in float32. Later releases fold the 255 into mean and std and differ by at most 2.4e-7.
    """
    rescaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    shift, scale = (np.asarray(v, np.float32)[:, None] for v in (mean, std))
    return np.asarray((rescaled - shift) / scale, np.float32)
