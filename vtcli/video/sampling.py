"""Chooses which frames the model sees and at what size: qwen-vl-utils 0.0.14's rules, exact to the index and pixel.

The rules are those of its decord path (`calculate_video_frame_range`, `smart_nframes`, `fetch_video`), which the
Qwen2.5-VL family was trained and evaluated with. Where they would fail on a short video, the frames it has are used and
a warning says so.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtcli.errors import UsageError, VideoError
from vtcli.tokens import FRAME_FACTOR, IMAGE_FACTOR
from vtcli.video.probe import VideoInfo
from vtcli.video.text import shown

FPS_MIN_FRAMES = 4  # --fps only
FPS_MAX_FRAMES = 768  # --fps only
MAX_RATIO = 200  # longer side / shorter side
VIDEO_MIN_PIXELS = 128 * 28 * 28  # per frame
VIDEO_MAX_PIXELS = 128 * 28 * 28  # per frame, as in the paper
LIMIT_PIXELS = 768 * 28 * 28  # per frame, whatever the request
TOTAL_PIXELS = 128000 * 28 * 28 * 0.9  # all frame pairs together
CLOCK_TOLERANCE = 0.5  # seconds: one temporal position of the model (tokens_per_second 2)
MAX_SAMPLED_FPS = 4.0  # above it two frame pairs fall on one temporal position


@dataclass(frozen=True)
class FrameRequest:
    """The requested frames: `fps`, if set, overrides `frames`. start, end: seconds from the first frame."""

    frames: int | None = 16
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    min_pixels: int = VIDEO_MIN_PIXELS
    max_pixels: int = VIDEO_MAX_PIXELS


@dataclass(frozen=True)
class FramePlan:
    """Frames to show the model.

    indices: in presentation order, an even number of them. width, height: pixels, multiples of 28. sampled_fps: frames
    per second as given to the model. second_per_grid: seconds from one frame pair to the next, 2 / sampled_fps. offset:
    seconds; a time that the model names + offset = time in the file.
    """

    indices: tuple[int, ...]
    width: int
    height: int
    sampled_fps: float
    second_per_grid: float
    offset: float
    warnings: tuple[str, ...]

    def as_json(self, times: Sequence[float], reader: str) -> dict[str, Any]:
        """The `sampling` object of the answer record (docs/schema/answer.schema.json).

        `times`: in seconds, one per index.
        """
        return {
            "frames": len(self.indices),
            "indices": list(self.indices),
            "times": list(times),
            "width": self.width,
            "height": self.height,
            "second_per_grid": self.second_per_grid,
            "reader": reader,
        }


def plan_frames(info: VideoInfo, request: FrameRequest) -> FramePlan:
    """Returns the frames of `info` that meet `request`. Raises UsageError for an invalid request."""
    check_request(request)
    warnings: list[str] = []
    first, last = _window(info, request, warnings)
    total = last - first + 1
    count = _frame_count(info, request, total, warnings)
    # A single frame is shown twice: the model takes frames in pairs.
    indices = (first, first) if total == 1 else spread(first, last, count)
    sampled_fps = count / total * info.fps
    _note_clock(info, indices, total, sampled_fps, warnings)
    height, width = _model_size(info, request, count, warnings)
    return FramePlan(
        indices=indices,
        width=width,
        height=height,
        sampled_fps=sampled_fps,
        second_per_grid=FRAME_FACTOR / sampled_fps,
        offset=info.times[first],
        warnings=tuple(warnings),
    )


def smart_resize(
    height: int,
    width: int,
    factor: int = IMAGE_FACTOR,
    min_pixels: int = VIDEO_MIN_PIXELS,
    max_pixels: float = VIDEO_MAX_PIXELS,
) -> tuple[int, int]:
    """Returns (height, width) in multiples of `factor`, about min_pixels to max_pixels in area, near the given aspect.

    As in qwen-vl-utils, except that a side never becomes 0 (transformers keeps it at `factor` too). Raises VideoError
    for a picture more than 200 times as long as wide.
    """
    if max(height, width) / min(height, width) > MAX_RATIO:
        raise VideoError(f"a picture of {width}x{height} pixels is more than {MAX_RATIO} times as long as wide")
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > max_pixels:
        scale = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / scale / factor) * factor)
        new_width = max(factor, math.floor(width / scale / factor) * factor)
    elif new_height * new_width < min_pixels:
        scale = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * scale / factor) * factor
        new_width = math.ceil(width * scale / factor) * factor
    return new_height, new_width


def check_request(request: FrameRequest) -> None:
    """Raises UsageError for a request that is invalid whatever the video."""
    if request.fps is not None:
        if not (math.isfinite(request.fps) and request.fps > 0):
            raise UsageError(f"--fps must be above 0, not {request.fps:g}")
    elif request.frames is None or request.frames < 1:
        raise UsageError(f"--frames must be 1 or more, not {request.frames or 0}")
    for name, value in (("--start", request.start), ("--end", request.end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"{name} must be 0 seconds or later, not {value:g}")
    if request.start is not None and request.end is not None and request.end <= request.start:
        raise UsageError(f"--end ({request.end:g} s) must come after --start ({request.start:g} s)")
    if min(request.max_pixels, request.min_pixels) < IMAGE_FACTOR**2:
        raise UsageError(f"--max-pixels must be {IMAGE_FACTOR**2} or more, the size of one token")


def _window(info: VideoInfo, request: FrameRequest, warnings: list[str]) -> tuple[int, int]:
    """Returns the first and last frame from --start to --end, as `calculate_video_frame_range` does."""
    if request.start is None and request.end is None:
        return 0, info.frames - 1
    start, end = request.start or 0.0, info.duration if request.end is None else request.end
    if start >= info.duration:
        raise UsageError(f"--start {start:g} s is beyond the end of the video ({info.duration:.2f} s)")
    if end > info.duration:
        warnings.append(f"--end {end:g} s is beyond the end of the video ({info.duration:.2f} s)")
    if _is_steady(info):
        longest = info.frames / info.fps
        first = math.ceil(min(start, longest) * info.fps)
        last = info.frames - 1
        if request.end is not None:
            last = min(math.floor(min(end, longest) * info.fps), last)
    else:  # index = time x rate would miss the window, so the frames' own times decide
        first, last = bisect_left(info.times, start), bisect_right(info.times, end) - 1
    if first > last:
        raise UsageError(f"no frame of {shown(info.path)} lies between {start:g} s and {end:g} s")
    return first, last


def _is_steady(info: VideoInfo) -> bool:
    """Whether each frame i is shown at i / fps, to within one frame."""
    ideal = np.arange(info.frames) / info.fps
    return bool(np.abs(np.asarray(info.times) - ideal).max() <= 1 / info.fps)


def _frame_count(info: VideoInfo, request: FrameRequest, total: int, warnings: list[str]) -> int:
    """Returns how many of `total` frames to use, an even number, as `smart_nframes` does; 2 for a single frame."""
    there = max(FRAME_FACTOR, total // FRAME_FACTOR * FRAME_FACTOR)
    if request.fps is not None:
        exact = total / info.fps * request.fps
        most = min(FPS_MAX_FRAMES, there)
        count = math.floor(min(max(exact, FPS_MIN_FRAMES), most) / FRAME_FACTOR) * FRAME_FACTOR
        if exact < FPS_MIN_FRAMES or exact > FPS_MAX_FRAMES or exact > total:
            warnings.append(f"--fps {request.fps:g} gives {exact:.0f} of {total} frames; {count} are used")
        return count
    asked = request.frames or 0
    wanted = max(FRAME_FACTOR, round(asked / FRAME_FACTOR) * FRAME_FACTOR)
    if wanted > there:
        used = "1 is there, used twice" if total == 1 else f"{total} are there"
        used += f", {there} are used" if 1 < total != there else ""
        warnings.append(f"{asked} frames were asked for, {used}")
    elif wanted != asked:
        warnings.append(f"frames are taken in pairs: {wanted} instead of {asked}")
    return min(wanted, there)


def spread(first: int, last: int, count: int) -> tuple[int, ...]:
    """Returns `torch.linspace(first, last, count).round().long()`, with the arithmetic of torch's CPU kernel.

    It counts from the nearer end, in float32, with product and sum rounded once (fused multiply-add); halves round to
    the even index. float64 would give other frames of long videos: at 768 frames, from about 8,000 frames on.
    """
    step = float(np.float32(last - first) / np.float32(count - 1))
    index = np.arange(count)
    # float64 holds each product exactly, so the cast is the only rounding.
    values = np.where(index < count // 2, first + step * index, last - step * (count - 1 - index)).astype(np.float32)
    return tuple(int(i) for i in np.rint(values))


def _note_clock(info: VideoInfo, indices: Sequence[int], total: int, sampled_fps: float, warnings: list[str]) -> None:
    """Warns if the times given to the model are not those of the frames, or if neighbouring pairs share a time."""
    off = max(abs(info.times[i] - info.times[indices[0]] - (i - indices[0]) / info.fps) for i in indices)
    if off > CLOCK_TOLERANCE:
        warnings.append(f"variable frame rate: the times the model is told are up to {off:.1f} s off")
    if len(indices) > FRAME_FACTOR and sampled_fps > MAX_SAMPLED_FPS:
        apart = max(1, math.floor(MAX_SAMPLED_FPS * total / info.fps / FRAME_FACTOR)) * FRAME_FACTOR
        warnings.append(
            f"{sampled_fps:.3g} frames a second are more than the model tells apart ({MAX_SAMPLED_FPS:g}): "
            f"neighbours share a time; --frames {apart} keeps them apart"
        )


def _model_size(info: VideoInfo, request: FrameRequest, count: int, warnings: list[str]) -> tuple[int, int]:
    """Returns (height, width) as `fetch_video` does; a --max-pixels below the minimum lowers the minimum."""
    least = min(request.min_pixels, request.max_pixels)
    limit = max(min(LIMIT_PIXELS, TOTAL_PIXELS / count * FRAME_FACTOR), int(least * 1.05))
    if request.max_pixels > limit:
        warnings.append(f"--max-pixels {request.max_pixels} is more than {count} frames may have; {limit:.0f} is used")
    return smart_resize(info.height, info.width, IMAGE_FACTOR, least, min(request.max_pixels, limit))
