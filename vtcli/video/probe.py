"""Finds what a video file really holds: frames and times come from its packets, not from its header.

Headers announce frames that do not exist (truncated files), none at all (Matroska) and rates that the timestamps
contradict. Only the first frame is decoded, because it gives the rotation and the true size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.errors import VideoError
from vtcli.video.container import PacketReader, open_video
from vtcli.video.index import NO_TIME, PacketIndex, read_index
from vtcli.video.oddities import oddities
from vtcli.video.picture import orientation
from vtcli.video.source import Source, Video, source_of

# A stated rate is trusted if it agrees with the timestamps to within this fraction, or one frame.
RATE_TOLERANCE = 0.01
# Where a file breaks off, frames due before the last ones are missing too (H.264 and HEVC reorder frames).
_REORDERED = 4
_FALLBACK_FPS = 25.0  # for a single frame with neither rate nor duration; FFmpeg assumes the same


@dataclass(frozen=True)
class VideoInfo:
    """One video stream of a file, as players show it.

    duration: seconds from the first frame's start to the last frame's end. fps: the average rate qwen-vl-utils would
    read (the container's), or frames / duration where that is missing or wrong. width, height: pixels as displayed,
    after rotation and pixel aspect. start: presentation time of the first frame on the container's clock, seconds.
    times: presentation time of every frame relative to `start`, ascending. rotation: degrees the stored picture is
    rotated counter-clockwise for display. mirrored: whether left and right are swapped after that. stored: width and
    height of the first frame as decoded. stream: its index in the file. source: how to open the video again. packets:
    the packets of the frames, for readers that seek; None where the video has no packets.
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
    mirrored: bool = False
    stored: tuple[int, int] | None = None
    source: Source | None = None
    packets: PacketIndex | None = field(default=None, repr=False, compare=False)

    @property
    def video(self) -> Video:
        """What opens the video; for standard input or an address, `path` is only a name."""
        return self.source or self.path

    def as_json(self) -> dict[str, Any]:
        """The `video` object of the answer record (docs/schema/answer.schema.json)."""
        names = ("path", "duration", "fps", "width", "height", "frames")
        return {name: getattr(self, name) for name in names}


def probe(video: Video) -> VideoInfo:
    """Reads the facts of `video`. Raises VideoError when it holds no video that can be decoded."""
    source = source_of(video)
    if source.is_pictures:
        from vtcli.video.readers.images import probe_pictures  # circular: that module imports this one

        return probe_pictures(source)
    with open_video(source) as (container, stream):
        # If the stream states no duration, only the file's duration, shared by all streams, shows that data is missing.
        reader = PacketReader(container, stream, every_stream=stream.duration is None)
        packets, first = read_index(container, stream, reader, source)
        if first is None or not packets.shown.any():
            raise VideoError(f"{source.label} holds no frame that can be decoded")
        warnings = list(source.warnings)
        start, times, last_length = _timeline(packets, stream, warnings)
        duration = times[-1] + last_length
        width, height = _displayed_size(first, stream)
        rotation, mirrored = orientation(first)
        if packets.leading:
            them = "its first frame" if packets.leading == 1 else f"its first {packets.leading} frames"
            warnings.append(f"the file begins in the middle of a group of pictures: {them} cannot be decoded")
        warnings += oddities(container, stream, first, source.stream is not None)
        info = VideoInfo(
            path=source.name,
            duration=duration,
            fps=average_rate(len(times), duration, _stated_rate(stream), warnings, reader.broken),
            width=width,
            height=height,
            frames=len(times),
            start=start,
            times=times,
            rotation=rotation,
            mirrored=mirrored,
            stored=(first.width, first.height),
            stream=stream.index,
            codec=stream.codec_context.codec.canonical_name,
            warnings=(),
            source=source,
            packets=packets,
        )
        return replace(info, warnings=(*warnings, *_note_missing(reader, container, stream, info)))


def with_frames(info: VideoInfo, times: Sequence[float], warnings: list[str]) -> VideoInfo:
    """Returns `info` for only the frames at `times` (seconds, same zero), those that a decoder really found."""
    last_length = info.duration - info.times[-1]
    duration = times[-1] + last_length
    fps = average_rate(len(times), duration - times[0], info.fps, warnings, broken=True)
    return replace(info, frames=len(times), times=tuple(times), duration=duration, fps=fps)


def average_rate(
    frames: int, duration: float, stated: float | None, warnings: list[str], broken: bool = False
) -> float:
    """Returns the frame rate: `stated` if the timestamps confirm it, else `frames` / `duration`, with a warning.

    With `broken`, a few more frames may be missing without contradicting the stated rate.
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


def _timeline(index: PacketIndex, stream: VideoStream, warnings: list[str]) -> tuple[float, tuple[float, ...], float]:
    """Returns start (s, container clock), each frame's time from it (s, ascending), and the last one's duration (s)."""
    rate = _stated_rate(stream) or _FALLBACK_FPS
    base = stream.time_base
    count = int(index.shown.sum())
    decoding, ticks = (times[index.shown & (times != NO_TIME)] for times in (index.dts, index.pts))
    if len(ticks) < count:
        # Sorted decoding times are the presentation times up to a constant.
        ticks = decoding
    if index.jumps or len(ticks) < count or base is None:
        problem = "clock jumps back" if index.jumps else "frames carry no times"
        warnings.append(f"the file's {problem}; {rate:.4g} frames a second are assumed")
        return 0.0, tuple(i / rate for i in range(count)), 1 / rate
    first = int(ticks.min())
    # Integer ticks are divided once, so each time is the float nearest to the true one.
    times = tuple(((np.sort(ticks) - first) * base.numerator / base.denominator).tolist())
    return float(first * base), times, float(index.last_length * base) or _mean_interval(times) or 1 / rate


def _mean_interval(times: Sequence[float]) -> float:
    return times[-1] / (len(times) - 1) if len(times) > 1 else 0.0


def _stated_rate(stream: VideoStream) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _note_missing(
    reader: PacketReader, container: InputContainer, stream: VideoStream, info: VideoInfo
) -> tuple[str, ...]:
    """Returns a warning if the file stops before the end that it announces."""
    if stream.duration is not None and stream.time_base is not None:
        # Its length counts from the first frame or, as in QuickTime, from zero; the more lenient of the two is used.
        announced, there = float(stream.duration * stream.time_base), max(info.duration, info.start + info.duration)
    else:
        # Containers count from zero or from the start; use the more lenient of the two.
        there = max(reader.end or 0.0, (reader.end or 0.0) - (reader.start or 0.0))
        announced = (container.duration or 0) / av.time_base
    if not reader.broken and announced - there <= max(0.5, 0.02 * announced):
        return ()
    frames = stream.frames or round(announced * info.fps)
    of = f" of {frames}" if frames > info.frames else ""
    why = f" ({reader.problem})" if reader.problem else ""
    return (f"video ends early: {info.frames}{of} frames are in the file{why}",)


def _displayed_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Returns width and height after pixel aspect (which stretches the stored width) and rotation."""
    aspect = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if frame.rotation % 180 == 90 else (width, height)
