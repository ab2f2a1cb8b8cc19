"""Further facts about a video, which people ask `ffprobe` for. Nothing here decides how frames are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream

from vtcli.video.container import open_video
from vtcli.video.index import first_frame
from vtcli.video.oddities import HDR, transfer_of
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.source import Video, source_of

SCHEMA = "vt.probe/1"

_UNEVEN = 0.0025  # seconds by which frame intervals of a steady video may differ: Matroska rounds each time to 1 ms
# ITU-T H.273 with FFmpeg's names. PyAV's own Colorspace is another list, that of the scaler.
_MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
_RANGES = {1: "tv", 2: "pc"}


@dataclass(frozen=True)
class StreamDetails:
    """One stream of the file. kind: video, audio, subtitle, data, attachment, unknown, or picture (cover art).

    codec: None where this build has no decoder. duration: seconds. width, height: pixels as stored. rate: audio samples
    per second. layout: audio channels.
    """

    index: int
    kind: str
    codec: str | None
    language: str | None
    duration: float | None
    width: int | None = None
    height: int | None = None
    rate: int | None = None
    layout: str | None = None


@dataclass(frozen=True)
class Color:
    """How colours are coded, in FFmpeg's names; None where the file does not say. hdr: "PQ", "HLG" or None."""

    primaries: str | None
    transfer: str | None
    matrix: str | None
    range: str | None
    hdr: str | None


@dataclass(frozen=True)
class Details:
    """Further facts about the file and about the stream that is read.

    container, container_name: FFmpeg's name and description of the format. bytes: file size, None where unknown.
    bit_rate: bits per second, all streams. variable_rate: whether frames are unevenly spaced. longest_interval: the
    longest time between two frames, seconds. key_frames: number of keyframes. longest_group: the longest time from one
    keyframe to the next or to the end, seconds. key_frames and longest_group are None where the file's frames carry no
    times. pixel_aspect: "1:1". stored: width, height before rotation and aspect.
    """

    container: str
    container_name: str
    bytes: int | None
    bit_rate: int | None
    variable_rate: bool
    longest_interval: float
    key_frames: int | None
    longest_group: float | None
    pixel_format: str | None
    bits: int | None
    color: Color
    pixel_aspect: str
    stored: tuple[int, int]
    interlaced: bool
    streams: tuple[StreamDetails, ...]

    def as_json(self) -> dict[str, Any]:
        """What `vt probe --json` adds to the facts of `VideoInfo` (docs/schema/probe.schema.json)."""
        return {**asdict(self), "stored": list(self.stored), "streams": [asdict(stream) for stream in self.streams]}


def describe(video: Video) -> dict[str, Any]:
    """Returns the record `vt.probe/1` of `video` (docs/schema/probe.schema.json). Raises VideoError as `probe` does."""
    info = probe(video)
    return {
        "schema": SCHEMA,
        **info.as_json(),
        "start": info.start,
        "rotation": info.rotation,
        "stream": info.stream,
        "codec": info.codec,
        **read_details(info).as_json(),
        "times": list(info.times),
        "warnings": list(info.warnings),
    }


def read_details(info: VideoInfo) -> Details:
    """Returns the details of `info`'s file, which it opens again. Raises VideoError as `open_video` does."""
    source = source_of(info.video)
    if source.is_pictures:
        return _of_pictures(info)
    with open_video(source) as (container, stream):
        frame = first_frame(container, stream)
        key_frames, longest_group = _groups(info)
        aspect = stream.sample_aspect_ratio or 1
        return Details(
            container=container.format.name,
            container_name=container.format.long_name,
            bytes=container.size if container.size > 0 else None,
            bit_rate=container.bit_rate or None,
            **_spacing(info),
            key_frames=key_frames,
            longest_group=longest_group,
            pixel_format=frame.format.name if frame else stream.codec_context.pix_fmt,
            bits=max((c.bits for c in frame.format.components), default=None) if frame else None,
            color=_color(stream, frame),
            pixel_aspect=f"{aspect.numerator}:{aspect.denominator}",
            stored=(frame.width, frame.height) if frame else (stream.width, stream.height),
            interlaced=bool(frame and frame.interlaced_frame),
            streams=tuple(_stream(each) for each in container.streams),
        )


def _of_pictures(info: VideoInfo) -> Details:
    source = source_of(info.video)
    folder = source.kind == "folder"
    return Details(
        container="folder" if folder else info.codec,
        container_name="folder of pictures" if folder else "animated WebP",
        bytes=None,
        bit_rate=None,
        **_spacing(info),
        key_frames=None,
        longest_group=None,
        pixel_format=None,
        bits=None,
        color=Color(None, None, None, None, None),
        pixel_aspect="1:1",
        stored=(info.width, info.height),
        interlaced=False,
        streams=(),
    )


def _spacing(info: VideoInfo) -> dict[str, Any]:
    intervals = np.diff(info.times) if info.frames > 1 else np.array([info.duration])
    off = np.abs(intervals - np.median(intervals)).max()
    return {"variable_rate": bool(off > _UNEVEN), "longest_interval": float(intervals.max())}


def _groups(info: VideoInfo) -> tuple[int | None, float | None]:
    """Returns the number of keyframes, and the longest time from one to the next or to the end (s)."""
    packets = info.packets
    if packets is None or packets.order is None:
        return None, None
    frames = np.flatnonzero(packets.key[packets.order])
    times = [0.0, *(info.times[i] for i in frames), info.duration]
    return len(frames), max(b - a for a, b in pairwise(times))


def _color(stream: VideoStream, frame: VideoFrame | None) -> Color:
    if frame is None:
        return Color(None, None, None, None, None)
    transfer = transfer_of(stream, frame)
    return Color(
        primaries=_name(ColorPrimaries, frame.color_primaries),
        transfer=_name(ColorTrc, transfer),
        matrix=_MATRICES.get(frame.colorspace),
        range=_RANGES.get(frame.color_range),
        hdr=HDR.get(transfer),
    )


def _name(kind: type[IntEnum], value: int) -> str | None:
    """Returns FFmpeg's name of a code, None for an unspecified one."""
    names: Mapping[int, str] = {int(member): member.name for member in kind}
    name = names.get(value, "UNSPECIFIED")
    return None if name == "UNSPECIFIED" else name.lower().replace("_", "-")


def _stream(stream: Stream) -> StreamDetails:
    codec, duration = stream.codec_context, stream.duration
    details = StreamDetails(
        index=stream.index,
        kind=stream.type or "unknown",
        codec=codec.codec.canonical_name if codec is not None else None,
        language=None if stream.language == "und" else stream.language,  # "undetermined"
        duration=float(duration * stream.time_base) if duration is not None and stream.time_base else None,
    )
    if stream.disposition & Disposition.attached_pic:
        details = replace(details, kind="picture")
    if isinstance(codec, VideoCodecContext):
        return replace(details, width=codec.width, height=codec.height)
    if isinstance(codec, AudioCodecContext):
        return replace(details, rate=codec.sample_rate, layout=codec.layout.name)
    return details
