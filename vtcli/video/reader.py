"""Frames as the model sees them: decoded in sequence, turned upright, resized once, each with its own time.

A frame is picked by its number in presentation order and checked by its timestamp. Where the two disagree, or frames
are missing, the file is read again for what is really there and the plan is made anew over that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from PIL import Image

from vtcli.errors import UsageError, VideoError, VtError
from vtcli.video.container import PacketReader, open_video
from vtcli.video.probe import VideoInfo, with_frames
from vtcli.video.sampling import FramePlan, FrameRequest, plan_frames
from vtcli.video.text import shown

READERS = ("auto", "pyav", "decord", "torchcodec")
_SAME_TIME = 1e-3  # seconds; the decoder hands packet times on unchanged

Picture = npt.NDArray[np.uint8]
TimedFrame = tuple[float | None, VideoFrame]  # seconds from the start of the video


@dataclass(frozen=True)
class Frames:
    """Frames ready for the model.

    pixels: uint8 (N, height, width, 3), RGB. indices: N frame numbers. times: N presentation times, seconds from the
    first frame of the file. plan: as really used. warnings: what reading found; the plan's own are in plan.warnings.
    """

    pixels: Picture
    indices: tuple[int, ...]
    times: tuple[float, ...]
    plan: FramePlan
    reader: str
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The `sampling` object of the answer record (docs/cli.md)."""
        return self.plan.as_json(self.times, self.reader)


def choose_reader(name: str) -> str:
    """The reader that `name` stands for. Raises UsageError for an unknown one, VtError for one not built in."""
    if name not in READERS:
        raise UsageError(f"--reader must be one of {', '.join(READERS)}, not {name}")
    if name not in ("auto", "pyav"):
        raise VtError(f"--reader {name} is not available in this version; use --reader pyav")
    return "pyav"


def read_frames(info: VideoInfo, plan: FramePlan, request: FrameRequest, reader: str = "auto") -> Frames:
    """The frames of `plan`. `request` is what it was made from, for planning again when frames turn out missing.

    Raises VideoError when nothing can be decoded, and as `choose_reader` and `plan_frames` do.
    """
    reader = choose_reader(reader)
    warnings: list[str] = []
    pictures = _pick(info, plan, _decode(info, threads="AUTO"))
    if pictures is None:
        info = _what_is_there(info, warnings)
        plan = plan_frames(info, request)
        # The times are the decoder's own now, or known to be useless: nothing left to check them against.
        untimed = ((None, frame) for _, frame in _decode(info, threads="SLICE"))
        pictures = _pick(info, plan, untimed)
    if pictures is None:
        raise VideoError(f"{shown(info.path)} decodes differently each time it is read; re-encode it")
    times = tuple(info.times[i] for i in plan.indices)
    return Frames(np.stack([pictures[i] for i in plan.indices]), plan.indices, times, plan, reader, tuple(warnings))


def _pick(info: VideoInfo, plan: FramePlan, decoded: Iterable[TimedFrame]) -> dict[int, Picture] | None:
    """The pictures at the plan's indices; None when one is missing or is not shown when `info` says."""
    wanted = set(plan.indices)
    pictures: dict[int, Picture] = {}
    for index, (time, frame) in enumerate(decoded):
        if index not in wanted:
            continue
        if time is not None and abs(time - info.times[index]) > _SAME_TIME:
            return None
        pictures[index] = _picture(frame, info.rotation, plan)
        if len(pictures) == len(wanted):
            return pictures
    return None


def _what_is_there(info: VideoInfo, warnings: list[str]) -> VideoInfo:
    """`info` over the frames that decode, with a warning that says how many."""
    decoded = [time for time, _ in _decode(info, threads="SLICE")]
    if not decoded:
        raise VideoError(f"{shown(info.path)} holds no frame that can be decoded")
    times = [time for time in decoded if time is not None]
    if len(times) < len(decoded) or any(a > b for a, b in pairwise(times)):
        warnings.append(f"the frames' times are missing or jump; {info.fps:.4g} frames a second are assumed")
        times = [i / info.fps for i in range(len(decoded))]
    if len(times) == info.frames:  # all there: the packets' clock was off, so the frames' own starts at zero
        times = [time - times[0] for time in times]
    else:
        what = "ends early" if times[-1] < info.times[-1] - _SAME_TIME else "is damaged"
        warnings.append(f"video {what}: {len(times)} of {info.frames} frames could be read")
    return with_frames(info, times, warnings)


def _decode(info: VideoInfo, threads: Literal["AUTO", "SLICE"]) -> Iterator[TimedFrame]:
    """Every frame that decodes, in presentation order, with its time from the start of the video (s).

    A damaged packet costs its own frames only. Frame threading (AUTO) is faster but loses more around an error.
    """
    with open_video(info.path) as (container, stream):
        stream.thread_type = threads
        base = stream.time_base or Fraction(1)
        zero = round(info.start / base)
        for packet in chain(PacketReader(container, stream), (None,)):
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                continue
            for frame in frames:
                # As in probe: integer ticks divided once, so that equal times are equal floats.
                ticks = None if frame.pts is None else frame.pts - zero
                yield None if ticks is None else ticks * base.numerator / base.denominator, frame


def _picture(frame: VideoFrame, rotation: int, plan: FramePlan) -> Picture:
    """uint8 (plan.height, plan.width, 3): upright, and stretched to the displayed shape in the one resize.

    Bicubic chroma, as ffmpeg and decord convert. Pillow's bicubic is within one level of torchvision's antialiased
    one, which qwen-vl-utils uses.
    """
    rgb = frame.to_ndarray(format="rgb24", interpolation=Interpolation.BICUBIC)
    if rotation % 90 == 0:
        rgb = np.rot90(rgb, rotation // 90)  # counter-clockwise, as the rotation is counted
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize((plan.width, plan.height), Image.Resampling.BICUBIC))
