"""Interlaced H.264 whose fields are packets of their own: two of them are one frame, at the time of the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from tests.video.conftest import Clip, number_of
from tests.video.halves import write_fields
from tests.video.test_sparse import in_both_ways
from vtcli.video.fields import fields_of
from vtcli.video.probe import probe
from vtcli.video.reader import read_frames
from vtcli.video.sampling import FrameRequest, plan_frames

INTERLACED = {"flags": "+ildct+ilme", "x264-params": "tff=1"}


@pytest.mark.parametrize(
    ("name", "each_timed", "packets"),
    [
        ("clip.ts", False, 80),  # FFmpeg takes them apart, and the second ones carry no times
        ("clip.ts", True, 80),
        ("clip.mkv", True, 80),
        ("clip.mp4", True, 80),  # as `ffmpeg -c copy` makes it of a camera's file
        ("clip.mkv", False, 40),
        ("clip.mp4", False, 40),
    ],
)
def test_two_fields_are_one_frame(tmp_path: Path, name: str, each_timed: bool, packets: int) -> None:
    info = probe(write_fields(tmp_path / name, 40, each_timed))
    assert info.packets is not None and len(info.packets.pts) == packets
    assert (info.frames, info.fps) == (40, pytest.approx(25.0))
    assert info.times == pytest.approx([i / 25 for i in range(40)], abs=1e-3)
    assert info.duration == pytest.approx(1.6, abs=1e-3)
    assert [w for w in info.warnings if "interlaced" not in w and "the file states 50" not in w] == []
    for request in (FrameRequest(frames=16), FrameRequest(frames=4, start=0.55, end=1.25)):
        frames = read_frames(info, plan_frames(info, request), request)
        assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
        assert frames.warnings == ()
        assert in_both_ways(info, request)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
@pytest.mark.parametrize(
    "made",
    [
        {},
        {"options": {"profile": "main"}},
        {"options": {"x264-params": "tff=1:cqm=jvt"}},  # scaling lists
        {"pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv422p10le"},
    ],
)
def test_packets_of_whole_frames(clip: Clip, name: str, made: dict[str, Any]) -> None:
    with av.open(str(clip(name, frames=30, **{**made, "options": {**INTERLACED, **made.get("options", {})}}))) as film:
        stream = film.streams.video[0]
        fields = fields_of(stream)
        assert fields is not None
        assert not any(fields.is_second(bytes(packet)) for packet in film.demux(stream))


def test_progressive_video_has_no_fields(clip: Clip) -> None:
    for name in ("clip.mp4", "clip.ts"):
        with av.open(str(clip(name, frames=30))) as film:
            assert fields_of(film.streams.video[0]) is None


def test_damaged_packets_are_no_second_fields(tmp_path: Path) -> None:
    with av.open(str(write_fields(tmp_path / "clip.ts", 2, True))) as film:
        stream = film.streams.video[0]
        packets = [bytes(packet) for packet in film.demux(stream) if packet.size]
        fields = fields_of(stream)
        assert fields is not None
        assert [fields.is_second(packet) for packet in packets] == [False, True, False, True]
        assert [fields.is_second(packet) for packet in (packets[0], b"", packets[1])] == [False, False, False]
        for length in range(40):
            fields.is_second(packets[1][:length])
        fields.is_second(b"")
        assert [fields.is_second(packet) for packet in (packets[0], packets[0], packets[1])] == [False, False, True]
