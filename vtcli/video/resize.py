"""Pictures resized as torchvision's `resize` does it for the reference: bicubic, antialiased, exact, rounded once.

torchvision's `transforms.functional.resize`, which qwen-vl-utils calls, computes in float32. Pillow's bicubic of RGB
keeps 8 bits between its two passes and cuts off there what overshoots: next to hard edges (text, cartoons) it can be
ten levels from what the model was trained on. Pillow's floats would do, one channel at a time and three times as
slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16
"""New lines made at once: few, so that hardly any of the old lines they are made of have no weight."""


@dataclass(frozen=True, eq=False)
class _Band:
    """New lines `begin` to `end` from the old lines `first` to `last`, float32 `weights` (new, old)."""

    begin: int
    end: int
    first: int
    last: int
    weights: NDArray[np.float32]


def resize(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """`rgb`, uint8 (any height, any width, 3), at another size."""
    tall, wide, channels = rgb.shape
    rows = _lines(rgb.reshape(tall, -1), height).reshape(height, wide, channels)
    columns = _lines(np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(wide, -1), width)
    levels = np.rint(columns.clip(0, 255)).astype(np.uint8)
    return np.ascontiguousarray(levels.reshape(width, height, channels).transpose(1, 0, 2))


def _lines(picture: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """`count` lines in place of those of `picture` (lines, values)."""
    made = np.empty((count, picture.shape[1]), np.float32)
    for band in _bands(len(picture), count):
        np.matmul(band.weights, picture[band.first : band.last].astype(np.float32), out=made[band.begin : band.end])
    return made


@lru_cache(maxsize=32)
def _bands(size: int, count: int) -> tuple[_Band, ...]:
    """How `count` lines follow from `size`: the cubic of Keys with a = -0.5, as wide as the lines are apart."""
    scale = size / count
    stretch = max(scale, 1.0)
    centres = (np.arange(count) + 0.5) * scale
    firsts = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    lasts = np.minimum((centres + 2 * stretch + 0.5).astype(int), size)
    bands = []
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        old = np.arange(firsts[begin], lasts[end - 1])
        weights = _cubic((old + 0.5 - centres[begin:end, None]) / stretch)
        weights[(old < firsts[begin:end, None]) | (old >= lasts[begin:end, None])] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        bands.append(_Band(begin, end, int(old[0]), int(old[-1]) + 1, weights.astype(np.float32)))
    return tuple(bands)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
