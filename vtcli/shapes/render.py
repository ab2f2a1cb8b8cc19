"""Renders a scene to pixels. Edges are antialiased from exact distances, so the picture is the same at any size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vtcli.shapes.world import RADIUS, Scene, State

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 40),
    "green": (50, 175, 70),
    "blue": (45, 105, 235),
    "yellow": (245, 215, 50),
    "white": (240, 240, 240),
    "purple": (165, 70, 215),
}
CLIP_SIZE = 224
"""Width and height of a clip file, pixels."""

Image = npt.NDArray[np.uint8]
_Field = npt.NDArray[np.floating[Any]]


def render(scene: Scene, times: Sequence[float], size: int = CLIP_SIZE) -> Image:
    """Draws the scene at `times` (seconds): uint8 (len(times), size, size, 3)."""
    frames = np.empty((len(times), size, size, 3), np.float32)
    frames[:] = scene.background
    for frame, time in zip(frames, times, strict=True):
        for number, shape in enumerate(scene.shapes):
            state = scene.state(number, time)
            if state is not None and state.scale > 0:
                _draw(frame, shape.form, state)
    return np.rint(frames).astype(np.uint8)


def _draw(frame: _Field, form: str, state: State) -> None:
    size = frame.shape[0]
    radius, (cx, cy) = RADIUS * size * state.scale, (state.centre[0] * size, state.centre[1] * size)
    x0, x1 = max(0, int(cx - radius - 2)), min(size, int(cx + radius + 3))
    y0, y1 = max(0, int(cy - radius - 2)), min(size, int(cy + radius + 3))
    if x0 >= x1 or y0 >= y1:
        return
    dx = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5 - cx)
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - cy)
    patch = frame[y0:y1, x0:x1]
    ink = _cover(_distance(form, dx, dy, radius))[..., None]
    patch += ink * (np.array(PALETTE[state.colour], np.float32) - patch)
    if state.new_colour is not None:
        spread = _cover(np.hypot(dx, dy) - state.spread * radius * 1.15)[..., None] * ink
        patch += spread * (np.array(PALETTE[state.new_colour], np.float32) - patch)


def _cover(distance: _Field) -> _Field:
    """Returns the share of a pixel that is inside, from the signed distance of its centre in pixels."""
    return np.asarray(np.clip(0.5 - distance, 0, 1))


def _distance(form: str, dx: _Field, dy: _Field, radius: float) -> _Field:
    if form == "circle":
        return np.asarray(np.hypot(dx, dy) - radius)
    if form == "square":
        return np.asarray(np.maximum(np.abs(dx), np.abs(dy)) - 0.88 * radius)
    slope = np.float32(3**0.5 / 2)
    return np.asarray(np.maximum(dy - 0.62 * radius, slope * np.abs(dx) - 0.5 * dy - 0.5 * radius))


def write_clip(scene: Scene, path: Path, size: int = CLIP_SIZE) -> None:
    """Writes the scene as an H.264 mp4 file of `scene.frames` frames."""
    import av

    rate = Fraction(scene.fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for image in render(scene, [n / scene.fps for n in range(scene.frames)], size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
