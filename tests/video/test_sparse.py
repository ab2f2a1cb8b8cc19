"""Jumping to a few frames: the same pixels as reading from the beginning, for less decoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video.conftest import Clip, number_of
from vtcli.errors import VideoError
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import read_frames
from vtcli.video.readers import sparse
from vtcli.video.readers.pyav import decode, pick
from vtcli.video.readers.sparse import share, sparse_pictures
from vtcli.video.sampling import FrameRequest, plan_frames

X264 = "libx264"
CLIPS: list[dict[str, Any]] = [
    {"codec": X264, "options": {"g": "40", "x264-params": "ref=4:bframes=7:b-pyramid=normal"}},
    {"name": "clip.mkv", "codec": X264, "options": {"g": "60", "x264-params": "bframes=5:b-pyramid=strict:b-adapt=0"}},
    {"codec": X264, "options": {"g": "40", "x264-params": "open-gop=1:bframes=5:b-adapt=0:scenecut=0"}},
    {"name": "clip.ts", "codec": X264, "options": {"g": "30", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
    {"name": "short.ts", "codec": X264, "options": {"g": "12"}},
    {"name": "clip.flv", "codec": X264, "options": {"g": "40"}},
    {"codec": X264, "options": {"g": "1"}},
    {"codec": X264, "options": {"g": "40", "flags": "+ildct+ilme", "x264-params": "tff=1"}},
    {"codec": "libx265", "options": {"x265-params": "keyint=40:bframes=8:b-adapt=0:open-gop=1:log-level=none"}},
    {"name": "h.mkv", "codec": "libx265", "options": {"x265-params": "keyint=40:open-gop=0:radl=2:log-level=none"}},
    {"name": "clip.webm", "codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "40"}},
    {"name": "9.webm", "codec": "libvpx-vp9", "options": {"cpu-used": "8", "lag-in-frames": "16", "g": "40"}},
    {"name": "1.webm", "codec": "libsvtav1", "options": {"preset": "12", "g": "40"}},
    {"codec": "mpeg4", "options": {"bf": "2", "g": "40"}},
    {"name": "clip.avi", "codec": "mpeg4", "options": {"g": "40"}},
    {"name": "2.ts", "codec": "mpeg2video", "options": {"bf": "2", "g": "15"}},
    {"name": "clip.mov", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """For every packet given to a decoder while jumping: whether it was one, and how many frames came out."""
    calls: list[tuple[bool, int]] = []
    real = sparse.GroupDecoder._send

    def counting(self: Any, packet: Any, may_fail: bool = False) -> Any:
        frames = real(self, packet, may_fail)
        calls.append((packet is not None, len(frames)))
        return frames

    monkeypatch.setattr(sparse.GroupDecoder, "_send", counting)
    return calls


def in_both_ways(info: VideoInfo, request: FrameRequest) -> bool:
    """Checks that jumping gives what reading in sequence gives; whether it could jump."""
    plan = plan_frames(info, request)
    jumped = sparse_pictures(info, plan)
    if jumped is None:
        return False
    straight = pick(info, plan, decode(info, threads="AUTO"))
    assert straight is not None and jumped.keys() == straight.keys() == set(plan.indices)
    for number, pixels in straight.items():
        assert np.array_equal(jumped[number], pixels), (info.path, number)
    return True


@pytest.mark.parametrize("made", CLIPS, ids=lambda made: f"{made.get('name', 'clip.mp4')}-{made['codec']}")
def test_same_pixels(clip: Clip, made: dict[str, Any]) -> None:
    info = probe(clip(frames=160, **made))
    assert in_both_ways(info, FrameRequest(frames=16))
    assert in_both_ways(info, FrameRequest(frames=2, start=2.9, end=4.5))
    assert in_both_ways(info, FrameRequest(frames=80))


@pytest.mark.slow
def test_every_clip_of_the_material(material: Path) -> None:
    jumped = 0
    for path in sorted((material / "videos").rglob("*.*")):
        try:
            info = probe(path)
        except VideoError:
            continue
        if info.packets is not None:
            jumped += in_both_ways(info, FrameRequest(frames=16))
    assert jumped > 35


def test_only_what_is_needed_is_decoded(clip: Clip, sent: list[tuple[bool, int]]) -> None:
    options = {"g": "50", "x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
    info = probe(clip(frames=250, options=options))
    request = FrameRequest(frames=4, start=1.0, end=7.0)
    assert in_both_ways(info, request)
    # Frames 25, 75, 125 and 175 lie 25 into groups of 50, of which 3 in 4 are built on by none.
    packets = sum(is_packet for is_packet, _ in sent)
    assert packets <= 4 * 28 + 2  # and for each decoder the first one
    assert sum(count for _, count in sent) <= 4 * 11 + 2


def test_group_is_decoded_once(clip: Clip, sent: list[tuple[bool, int]]) -> None:
    info = probe(clip(frames=100, options={"g": "100", "x264-params": "scenecut=0"}))
    assert in_both_ways(info, FrameRequest(frames=50))
    assert sum(is_packet for is_packet, _ in sent) <= 100


def test_no_more_is_decoded_than_in_sequence(clip: Clip, sent: list[tuple[bool, int]]) -> None:
    for gop in ("3", "10", "200"):
        sent.clear()
        info = probe(clip(f"{gop}.mp4", frames=200, options={"g": gop, "x264-params": "scenecut=0"}))
        assert in_both_ways(info, FrameRequest(frames=200))
        assert sum(is_packet for is_packet, _ in sent) <= 200 + 2


def test_groups_are_shared_out(clip: Clip, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[bool, int]]) -> None:
    """On many cores every group may get a decoder of its own; on one, one decoder does them all."""
    info = probe(clip(frames=250, width=320, height=192, options={"g": "50"}))
    monkeypatch.setattr(sparse, "_OPENING", 0)
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr(sparse, "cores", lambda cores=cores: cores)
        assert in_both_ways(info, FrameRequest(frames=16))


def test_share() -> None:
    picture = 1280 * 720
    assert share([300], picture, 2) == (1, 2)  # one group: threads inside the decoder
    assert share([150] * 16, picture, 2) == (2, 1)
    assert share([150] * 16, picture, 1) == (1, 1)
    assert share([300, 10, 10], picture, 2) == (1, 2)  # one would wait for the other
    assert share([5] * 2, 64 * 64, 2) == (1, 2)  # opening the file again takes longer
    assert share([250] * 4, picture, 16) == (4, 4)
    workers, threads = share([150] * 64, 7680 * 4320, 16)
    assert (workers, threads) == (1, 16)  # memory


def test_intra_refresh_is_read_in_sequence(clip: Clip) -> None:
    """Its key packets are points from where the picture mends itself bit by bit."""
    path = clip(frames=160, options={"g": "40", "x264-params": "intra-refresh=1"})
    info, request = probe(path), FrameRequest(frames=8)
    plan = plan_frames(info, request)
    assert sparse_pictures(info, plan) is None
    frames = read_frames(info, plan, request)
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
    assert frames.warnings == ()


def test_wrong_key_packets_are_noticed(clip: Clip) -> None:
    """As where a file calls every packet a key packet."""
    info, request = probe(clip(frames=100, options={"g": "50"})), FrameRequest(frames=8)
    assert info.packets is not None
    wrong = replace(info, packets=replace(info.packets, key=np.ones(100, np.bool_)))
    plan = plan_frames(wrong, request)
    assert sparse_pictures(wrong, plan) is None
    frames = read_frames(wrong, plan, request)
    assert [number_of(pixels) for pixels in frames.pixels] == list(plan.indices)


def test_wrong_times_are_noticed(clip: Clip) -> None:
    info = probe(clip(frames=100, options={"g": "10"}))
    assert info.packets is not None
    wrong = replace(info, packets=replace(info.packets, pts=info.packets.pts + 1))
    assert sparse_pictures(wrong, plan_frames(wrong, FrameRequest())) is None


def test_every_decoder_sees_the_first_packet(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the encoder: FFmpeg decodes this film, 4:4:4 by an old x264, wrongly without having seen it."""
    info, request = probe(material / "videos/imageio-binaries/cockatoo.mp4"), FrameRequest(frames=2, start=8.0)
    assert in_both_ways(info, request)
    plan = plan_frames(info, request)
    right = sparse_pictures(info, plan)
    monkeypatch.setattr(sparse.GroupDecoder, "_introduce", lambda self: None)
    entered = sparse_pictures(info, plan)
    assert right and (entered is None or any(not np.array_equal(entered[i], right[i]) for i in right))
