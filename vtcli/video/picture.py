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

_MAY_BE_PADDED = "bgra"  # FFmpeg's name for Windows' 32-bit pixels, whose fourth byte is often unused


def picture(frame: av.VideoFrame, rotation: int, width: int, height: int, mirrored: bool = False) -> Picture:
    """Returns `frame` as RGB, uint8 (height, width, 3), upright and stretched to the displayed shape in one resize.

    Chroma is interpolated bicubically, as by ffmpeg and decord. Transparent parts are blended over white, as by
    browsers and qwen-vl-utils; the other readers ignore transparency and show the colours stored under it. A `bgra`
    frame whose alpha is 0 everywhere is taken as opaque, see `_is_padded`. Raises VideoError for pixel formats that
    FFmpeg does not convert.
    """
    rgb = _flattened(frame) if has_alpha(frame.format) else _converted(frame, "rgb24")
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


def _flattened(frame: av.VideoFrame) -> Picture:
    """Returns the colours of `frame`, whose format has alpha, as they show over white."""
    rgba = _converted(frame, "rgba")
    return rgba[..., :3] if _is_padded(frame.format, rgba) else _over_white(rgba)


def _is_padded(pixels: av.VideoFormat, rgba: Picture) -> bool:
    """Whether the alpha of a frame, decoded as `pixels`, is an unused byte that happens to be 0.

    In an uncompressed 32-bit AVI (BI_RGB), the fourth byte of a pixel is unused and usually 0. FFmpeg decodes it as
    the alpha of `bgra`, and blending would make every frame white. A frame does not name its codec, so the pixel format
    decides. Most clips with real transparency decode to other formats (PNG, QuickTime Animation, ProRes 4444), in which
    a wholly transparent frame stays white, as at the start of a fade-in. A GIF decodes to `bgra` too, but FFmpeg stores
    white under its transparent pixels. A wholly transparent frame of an FFV1, HuffYUV or uncompressed clip with real
    alpha shows the colours stored there: this misreads an empty frame, where blending would lose a whole video.
    """
    return pixels.name == _MAY_BE_PADDED and not rgba[..., 3].any()


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
