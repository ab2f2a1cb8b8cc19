"""What a video file really holds: frames and times counted from its packets, not taken from its header.

Headers announce frames that are not there (cut files), none at all (Matroska) and rates the timestamps contradict.
Only the first frame is decoded, because rotation and the true size are known from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.errors import VideoError
from vtcli.video.container import PacketReader, open_video
from vtcli.video.text import shown

# A stated rate is believed while it agrees with the timestamps to this share, or to one frame.
RATE_TOLERANCE = 0.01
# Where a file breaks off, frames that were to be shown before the last ones are missing too (H.264 and HEVC reorder).
_REORDERED = 4
_FALLBACK_FPS = 25.0  # a lone frame with neither rate nor duration; FFmpeg assumes the same


@dataclass(frozen=True)
class VideoInfo:
    """One video stream of a file, as players show it.

    duration: seconds from the first frame's start to the last frame's end. fps: the average rate qwen-vl-utils would
    read (the container's), or frames / duration where that is missing or wrong. width, height: pixels as displayed,
    after rotation and pixel aspect. start: presentation time of the first frame on the container's clock, seconds.
    times: presentation time of every frame relative to `start`, ascending. rotation: degrees the stored picture is
    turned counter-clockwise for display. stream: its index in the file.
    """

    path: str
    duration: float
    fps: float
    width: int
    height: int
    frames: int
    start: float
    times: tuple[float, ...]
    rotation: int
    stream: int
    codec: str
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The `video` object of the answer record (docs/cli.md)."""
        names = ("path", "duration", "fps", "width", "height", "frames")
        return {name: getattr(self, name) for name in names}


def probe(path: str | Path) -> VideoInfo:
    """Reads the facts of the file at `path`. Raises VideoError when it holds no video that can be decoded."""
    with open_video(path) as (container, stream):
        # Without a length of its own, a stream can only be missed in the file's length, which all streams share.
        reader = PacketReader(container, stream, every_stream=stream.duration is None)
        stamps, first = _scan(reader, stream)
        if not stamps or first is None:
            raise VideoError(f"{shown(path)} holds no frame that can be decoded")
        warnings: list[str] = []
        start, times, last_length = _timeline(stamps, stream, warnings)
        duration = times[-1] + last_length
        width, height = _displayed_size(first, stream)
        if first.rotation % 90:
            warnings.append(f"the video is turned by {first.rotation} degrees, which is not applied")
        info = VideoInfo(
            path=str(path),
            duration=duration,
            fps=average_rate(len(times), duration, _stated_rate(stream), warnings, reader.broken),
            width=width,
            height=height,
            frames=len(times),
            start=start,
            times=times,
            rotation=first.rotation,
            stream=stream.index,
            codec=stream.codec_context.codec.canonical_name,
            warnings=(),
        )
        return replace(info, warnings=(*warnings, *_note_missing(reader, container, stream, info)))


def with_frames(info: VideoInfo, times: Sequence[float], warnings: list[str]) -> VideoInfo:
    """`info` for the frames at `times` only (seconds, same zero): what a decoder found to be really there."""
    last_length = info.duration - info.times[-1]
    duration = times[-1] + last_length
    fps = average_rate(len(times), duration, info.fps, warnings, broken=True)
    return replace(info, frames=len(times), times=tuple(times), duration=duration, fps=fps)


def average_rate(
    frames: int, duration: float, stated: float | None, warnings: list[str], broken: bool = False
) -> float:
    """Frames a second: `stated` where the timestamps bear it out, else `frames` / `duration`, saying so.

    With `broken`, a few frames more may be missing: the rate is not to blame for them.
    """
    if duration <= 0:
        return stated or _FALLBACK_FPS
    measured = frames / duration
    if stated is None:
        warnings.append(f"the file states no frame rate; its timestamps give {measured:.4g} a second")
        return measured
    if abs(stated * duration - frames) > max(_REORDERED if broken else 1, RATE_TOLERANCE * frames):
        warnings.append(f"the file states {stated:.4g} frames a second, its timestamps give {measured:.4g}, used here")
        return measured
    return stated


class _Stamp(NamedTuple):
    """A packet's times in ticks of the stream's time base; the packet's data is not kept."""

    pts: int | None
    dts: int | None
    duration: int


def _scan(reader: PacketReader, stream: VideoStream) -> tuple[list[_Stamp], VideoFrame | None]:
    """The times of every packet that becomes a frame, and the first frame."""
    stamps, first = [], None
    for packet in reader:
        if first is None:
            first = _first_frame(stream, packet)
        if not packet.is_discard and not _is_hidden(packet, stream):
            stamps.append(_Stamp(packet.pts, packet.dts, packet.duration or 0))
    return stamps, first or _first_frame(stream, None)


def _first_frame(stream: VideoStream, packet: Packet[VideoStream] | None) -> VideoFrame | None:
    """The frame that comes out when `packet` goes in (None: the end), if any; a damaged packet gives none."""
    try:
        return next(iter(stream.decode(packet)), None)
    except av.FFmpegError:
        return None


def _is_hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """VP8 keeps its alternative reference frames in packets of their own, never shown (RFC 6386, section 9.1)."""
    return stream.codec_context.codec.canonical_name == "vp8" and not bytes(packet)[0] & 0x10


def _timeline(
    stamps: Sequence[_Stamp], stream: VideoStream, warnings: list[str]
) -> tuple[float, tuple[float, ...], float]:
    """Start (s, container clock), each frame's time from there (s, ascending) and the last frame's length (s)."""
    rate = _stated_rate(stream) or _FALLBACK_FPS
    base = stream.time_base
    decoding = [s.dts for s in stamps if s.dts is not None]
    ticks = [s.pts for s in stamps if s.pts is not None]
    if len(ticks) < len(stamps):
        # Sorted decoding times are the presentation times but for a constant.
        ticks = decoding
    jumps = any(a > b for a, b in pairwise(decoding))
    if jumps or len(ticks) < len(stamps) or base is None:
        problem = "clock jumps back" if jumps else "frames carry no times"
        warnings.append(f"the file's {problem}; {rate:.4g} frames a second are assumed")
        return 0.0, tuple(i / rate for i in range(len(stamps))), 1 / rate
    _, length = max(zip(ticks, (s.duration for s in stamps), strict=True))
    first = min(ticks)
    # Integer ticks divided once: each time is the float nearest to the true one.
    times = tuple((t - first) * base.numerator / base.denominator for t in sorted(ticks))
    return float(first * base), times, float(length * base) or _mean_interval(times) or 1 / rate


def _mean_interval(times: Sequence[float]) -> float:
    return times[-1] / (len(times) - 1) if len(times) > 1 else 0.0


def _stated_rate(stream: VideoStream) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _note_missing(
    reader: PacketReader, container: InputContainer, stream: VideoStream, info: VideoInfo
) -> tuple[str, ...]:
    """One warning where the file stops before the end it announces."""
    if stream.duration is not None and stream.time_base is not None:
        announced, there = float(stream.duration * stream.time_base), info.duration
    else:
        # Counted from zero or from the start, as the container likes: the kinder reading decides.
        there = max(reader.end or 0.0, (reader.end or 0.0) - (reader.start or 0.0))
        announced = (container.duration or 0) / av.time_base
    if not reader.broken and announced - there <= max(0.5, 0.02 * announced):
        return ()
    frames = stream.frames or round(announced * info.fps)
    of = f" of {frames}" if frames > info.frames else ""
    why = f" ({reader.problem})" if reader.problem else ""
    return (f"video ends early: {info.frames}{of} frames are in the file{why}",)


def _displayed_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height after pixel aspect (stretches the stored width) and rotation."""
    aspect = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if frame.rotation % 180 == 90 else (width, height)
