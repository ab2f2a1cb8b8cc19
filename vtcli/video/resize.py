"""Resizes pictures as torchvision's `resize` does for the reference: bicubic, antialiased, exact, rounded once.

torchvision's `transforms.functional.resize`, which qwen-vl-utils calls, computes in float32. Pillow's bicubic resize of
RGB keeps 8 bits between its two passes and clips overshoot there: near hard edges (text, cartoons) it can be ten levels
off what the model was trained on. Pillow's float mode would do, but only one channel at a time and many times slower.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 8
"""New lines per band: few, so that hardly any of the band's old lines have zero weight for a new line."""


@dataclass(frozen=True, eq=False)
class _Band:
    """New lines `begin` to `end` from the old lines `first` to `last`, float32 `weights` (new, old)."""

    begin: int
    end: int
    first: int
    last: int
    weights: NDArray[np.float32]


def resize(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Returns `rgb`, uint8 (any height, any width, 3), resized to `height` and `width`."""
    tall, wide, channels = rgb.shape
    old = rgb.reshape(tall, wide * channels)
    rows = _scratch("rows", height, wide * channels)
    down = _bands(tall, height)
    lines = _scratch("lines", max(band.last - band.first for band in down), wide * channels)
    for band in down:
        taken = lines[: band.last - band.first]
        np.copyto(taken, old[band.first : band.last])
        np.matmul(band.weights, taken, out=rows[band.begin : band.end])
    made = _scratch("made", height, width * channels)
    for band in _interleaved(wide, width, channels):
        np.matmul(rows[:, band.first : band.last], band.weights.T, out=made[:, band.begin : band.end])
    np.rint(made.clip(0, 255, out=made), out=made)
    return made.astype(np.uint8).reshape(height, width, channels)


_kept = threading.local()


def _scratch(name: str, lines: int, values: int) -> NDArray[np.float32]:
    """Returns a buffer for a step's result, float32 (lines, values), owned by the thread and kept for the next picture.

    Allocating new memory for every picture takes longer than filling it.
    """
    room: NDArray[np.float32] | None = getattr(_kept, name, None)
    if room is None or room.size < lines * values:
        room = np.empty(lines * values, np.float32)
        setattr(_kept, name, room)
    return room[: lines * values].reshape(lines, values)


@lru_cache(maxsize=32)
def _interleaved(size: int, count: int, channels: int) -> tuple[_Band, ...]:
    """Returns `_bands` for pixels with interleaved channels: weights between different channels are 0."""
    n, apart = channels, np.eye(channels, dtype=np.float32)
    return tuple(
        _Band(n * band.begin, n * band.end, n * band.first, n * band.last, np.kron(band.weights, apart))
        for band in _bands(size, count)
    )


@lru_cache(maxsize=32)
def _bands(size: int, count: int) -> tuple[_Band, ...]:
    """Returns how `count` lines follow from `size`: Keys's cubic with a = -0.5, as wide as the lines are apart."""
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
