"""The clips that parity is tried on: written on the spot, of many rates, sizes, lengths and ways of being coded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clip:
    """`frames` pictures of `width` x `height` at `rate` a second; `options` go to x264."""

    name: str
    frames: int
    rate: Fraction
    width: int
    height: int
    options: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return float(self.frames / self.rate)


_RATES = (
    Fraction(13, 5), Fraction(37, 10), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(10),
    Fraction(12), Fraction(15), Fraction(50), Fraction(1),
)  # fmt: skip
_SIZES = ((224, 224), (320, 180), (180, 320), (426, 240), (112, 112), (641, 361))
_OPTIONS = ({}, {"bf": "0"}, {"g": "12"}, {"bf": "3", "g": "250"}, {"tune": "zerolatency"})
_LENGTHS = (70, 97, 150, 66, 240, 131)


def _clips() -> tuple[Clip, ...]:
    made = []
    for number in range(30):
        rate, (width, height) = _RATES[number % len(_RATES)], _SIZES[number % len(_SIZES)]
        frames, options = _LENGTHS[(number // 2) % len(_LENGTHS)], _OPTIONS[number % len(_OPTIONS)]
        made.append(Clip(f"clip-{number:02}", frames, rate, width, height, options))
    return tuple(made)


CLIPS: tuple[Clip, ...] = (
    *_clips(),
    Clip("three-seconds", 75, Fraction(25), 320, 240),  # 16 and more frames of it fall on shared positions
    Clip("four-seconds", 240, Fraction(60), 256, 192),
    Clip("ten-minutes", 1200, Fraction(2), 64, 64),
)
"""At least 30; every rate with several sizes, and both with several ways of coding."""


def write(clip: Clip, folder: Path) -> Path:
    """Writes the clip as mp4. Blocks of colour drift over a slope, so that no two frames are alike."""
    path = folder / f"{clip.name}.mp4"
    dice = np.random.default_rng(len(clip.name) + clip.frames)
    blocks = dice.integers(40, 216, (8, 8, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=clip.rate)
        stream.width, stream.height, stream.pix_fmt = (
            clip.width,
            clip.height,
            "yuv444p" if clip.width % 2 else "yuv420p",
        )
        stream.options = {"crf": "20", "preset": "veryfast", **clip.options}
        for number in range(clip.frames):
            frame = av.VideoFrame.from_ndarray(_picture(clip, blocks, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _picture(clip: Clip, blocks: NDArray[np.int64], number: int) -> NDArray[np.uint8]:
    rows = (np.arange(clip.height)[:, None] * 8 // clip.height + number // 9) % 8
    columns = (np.arange(clip.width)[None, :] + 3 * number) // max(1, clip.width // 8) % 8
    slope = np.linspace(-30, 30, clip.height)[:, None, None] * np.cos(number / 7)
    return np.clip(blocks[rows, columns] + slope, 0, 255).astype(np.uint8)
