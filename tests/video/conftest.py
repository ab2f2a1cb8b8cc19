"""Clips written on the spot, whose every frame shows its own number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

BITS = 8  # a frame's number, as vertical stripes: black 0, white 1, most significant left
Clip = Callable[..., Path]


def picture(number: int, width: int, height: int) -> np.ndarray[Any, Any]:
    """uint8 (height, width, 3) that shows `number` in a way that survives compression and resizing."""
    stripes = np.array([number >> (BITS - 1 - bit) & 1 for bit in range(BITS)])
    row = stripes[np.arange(width) * BITS // width] * 255
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


def number_of(pixels: np.ndarray[Any, Any]) -> int:
    """The number that a frame of any size shows."""
    height, width = pixels.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = pixels[height // 2, centres].mean(axis=-1) > 127
    return int("".join("1" if bit else "0" for bit in bits), 2)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Writes a clip and returns its path; `ticks` are presentation times in units of 1/1000 s."""

    def write(
        name: str = "clip.mp4",
        frames: int = 50,
        fps: int = 25,
        width: int = 160,
        height: int = 96,
        ticks: Sequence[int] | None = None,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        rotation: int = 0,
        aspect: Fraction | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.thread_count = 1  # libvpx's threads wait for each other without sleeping
            if ticks is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
                if ticks is None:
                    frame.pts, frame.time_base = number, Fraction(1, fps)
                else:
                    frame.pts, frame.time_base = ticks[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
