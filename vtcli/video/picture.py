"""Turns a decoded frame into the picture the model sees: RGB, upright, at the model's size."""

from __future__ import annotations

import struct
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation

from vtcli.errors import VideoError
from vtcli.video.resize import resize

Picture = npt.NDArray[np.uint8]


def picture(frame: av.VideoFrame, rotation: int, width: int, height: int, mirrored: bool = False) -> Picture:
    """Returns `frame` as RGB, uint8 (height, width, 3), upright and stretched to the displayed shape in one resize.

    Chroma is interpolated bicubically, as by ffmpeg and decord. Transparent parts are blended over white, as by
    browsers and qwen-vl-utils; the other readers ignore transparency and show the colours stored under it. Raises
    VideoError for pixel formats that FFmpeg does not convert.
    """
    rgb = _over_white(_converted(frame, "rgba")) if has_alpha(frame.format) else _converted(frame, "rgb24")
    # Rotating and then mirroring equals mirroring and then rotating the other way.
    return fit(rgb[:, ::-1], -rotation, width, height) if mirrored else fit(rgb, rotation, width, height)


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Returns the degrees counter-clockwise to rotate `frame` for display, and whether it is mirrored after that."""
    turn = frame.rotation
    if abs(turn) > 180:  # a display matrix of zeros
        return 0, False
    if not is_mirrored(frame):
        return turn, False
    turn = -(turn + 180)  # the matrix flips the picture vertically, then rotates it by `turn`
    return (turn + 360 if turn <= -180 else turn), True


def is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether the display matrix mirrors the picture.

    Do not call this for every frame: PyAV's side data keep their frame alive until the garbage collector runs.
    """
    try:
        matrix = cast("bytes | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # PyAV 18 does not know the EXIF data that FFmpeg 8 finds in a photograph
        return False
    if matrix is None:
        return False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    return bool(a * d - b * c < 0)


def _converted(frame: av.VideoFrame, pixels: str) -> Picture:
    try:
        # One thread: starting more for each frame costs more than they save.
        return cast(Picture, frame.to_ndarray(format=pixels, interpolation=Interpolation.BICUBIC, threads=1))
    except MemoryError:  # FFmpeg's MemoryError is an FFmpegError too
        raise
    except (av.FFmpegError, ValueError):
        raise VideoError(f"pixels of the format {frame.format.name} cannot be read; re-encode the video") from None


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether pictures of this format may be transparent."""
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def _over_white(rgba: Picture) -> Picture:
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def fit(rgb: Picture, rotation: int, width: int, height: int) -> Picture:
    """Rotates `rgb`, uint8 (any height, any width, 3), by `rotation` degrees counter-clockwise, then resizes it.

    A rotation that is not a multiple of 90 is not applied.
    """
    if rotation % 90 == 0:
        rgb = np.rot90(rgb, rotation // 90)
    return resize(rgb, height, width)
