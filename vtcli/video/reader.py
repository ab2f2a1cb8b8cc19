"""Reads frames as the model sees them: upright, resized once, each with its own time.

A frame is picked by its number in presentation order and checked by its timestamp. If the two disagree, or frames are
missing, the file is read again sequentially to find the frames that exist, and the plan is remade from these.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import util
from itertools import pairwise
from typing import Any

import numpy as np

from vtcli.errors import UsageError, VideoError, VtError
from vtcli.video.picture import Picture
from vtcli.video.probe import VideoInfo, with_frames
from vtcli.video.readers.base import SAME_TIME, Reader, UnfitError
from vtcli.video.readers.pyav import PyAVReader, decode, pick
from vtcli.video.sampling import FramePlan, FrameRequest, plan_frames
from vtcli.video.text import shown

READERS = ("auto", "pyav", "decord", "torchcodec")


@dataclass(frozen=True)
class Frames:
    """Frames ready for the model.

    pixels: uint8 (N, height, width, 3), RGB. indices: N frame numbers. times: N presentation times, seconds from the
    first frame of the file. plan: the one really used. warnings: those of reading; the plan's are in plan.warnings.
    """

    pixels: Picture
    indices: tuple[int, ...]
    times: tuple[float, ...]
    plan: FramePlan
    reader: str
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The `sampling` object of the answer record (docs/schema/answer.schema.json)."""
        return self.plan.as_json(self.times, self.reader)


def choose_reader(name: str) -> str:
    """Returns the reader that `name` stands for.

    Raises UsageError for an unknown reader; EngineError, with the install command, for one that is not installed; and
    VtError where decord is not published for this machine.
    """
    if name not in READERS:
        raise UsageError(f"--reader must be one of {', '.join(READERS)}, not {name}")
    if name in ("auto", "pyav"):
        return "pyav"
    if name == "decord" and util.find_spec(name) is None and not _has_decord():
        raise VtError("--reader decord: there is no decord for this machine; use --reader pyav")
    from vtcli.install import require

    require(f"--reader {name}", name, name)
    return name


def _has_decord() -> bool:
    """Whether decord is published for this machine."""
    return sys.platform in ("linux", "win32") and platform.machine().lower() in ("x86_64", "amd64")


def _open_reader(name: str, odd: set[int]) -> Reader:
    if name == "decord":
        from vtcli.video.readers.decord import DecordReader

        return DecordReader()
    if name == "torchcodec":
        from vtcli.video.readers.torchcodec import TorchcodecReader

        return TorchcodecReader()
    return PyAVReader(odd)


def read_frames(info: VideoInfo, plan: FramePlan, request: FrameRequest, reader: str = "auto") -> Frames:
    """Returns the frames of `plan`. `request`: what the plan was made from, to make it again if frames are missing.

    Raises VideoError if nothing can be decoded, and what `choose_reader` and `plan_frames` raise.
    """
    if info.source is not None and info.source.is_pictures:
        from vtcli.video.readers.images import read_pictures  # circular: that module imports this one

        return read_pictures(info, plan, request, reader)
    reader = choose_reader(reader)
    warnings: list[str] = []
    odd: set[int] = set()
    try:
        pictures = _open_reader(reader, odd).pictures(info, plan)
    except UnfitError as unfit:
        warnings.append(f"{unfit}: read with pyav instead")
        reader = PyAVReader.name
        pictures = PyAVReader(odd).pictures(info, plan)
    if pictures is None:
        info = _what_is_there(info, warnings)
        plan = plan_frames(info, request)
        # The times are now the decoder's own, or known to be useless: nothing is left to check them against.
        untimed = ((None, frame) for _, frame in decode(info, threads="SLICE"))
        odd.clear()
        pictures = pick(info, plan, untimed, odd)
    if pictures is None:
        raise VideoError(f"{shown(info.path)} decodes differently each time it is read; re-encode it")
    if odd:
        them = "1 frame is" if len(odd) == 1 else f"{len(odd)} frames are"
        warnings.append(f"{them} of another size than the first of the video and stretched to its shape")
    times = tuple(info.times[i] for i in plan.indices)
    return Frames(np.stack([pictures[i] for i in plan.indices]), plan.indices, times, plan, reader, tuple(warnings))


def _what_is_there(info: VideoInfo, warnings: list[str]) -> VideoInfo:
    """Returns `info` for the frames that decode, and warns how many they are."""
    decoded = [time for time, _ in decode(info, threads="SLICE")]
    if not decoded:
        raise VideoError(f"{shown(info.path)} holds no frame that can be decoded")
    times = [time for time in decoded if time is not None]
    if len(times) < len(decoded) or any(a > b for a, b in pairwise(times)):
        warnings.append(f"the frames' times are missing or jump; {info.fps:.4g} frames a second are assumed")
        times = [i / info.fps for i in range(len(decoded))]
    if len(times) == info.frames:  # none is missing: the packets' clock was off, so let the frames' own start at 0
        times = [time - times[0] for time in times]
    else:
        what = "ends early" if times[-1] < info.times[-1] - SAME_TIME else "is damaged"
        warnings.append(f"video {what}: {len(times)} of {info.frames} frames could be read")
    return with_frames(info, times, warnings)
