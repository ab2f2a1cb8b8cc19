"""The right frames at the right times: every generated frame shows its number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video.conftest import Clip, number_of
from vtcli.errors import UsageError, VideoError
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import READERS, Frames, choose_reader, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames


def read(path: Path, request: FrameRequest | None = None, info: VideoInfo | None = None) -> Frames:
    request = request or FrameRequest()
    info = info or probe(path)
    return read_frames(info, plan_frames(info, request), request)


def numbers(frames: Frames) -> list[int]:
    return [number_of(pixels) for pixels in frames.pixels]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"bf": "3", "g": "30"}),
        ("clip.mkv", "libx264", {}),
        ("clip.ts", "libx264", {"bf": "2"}),
        ("clip.avi", "mpeg4", {"bf": "2"}),
        ("clip.avi", "libx264", {"bf": "3"}),  # no presentation times in the file: FFmpeg makes them up
        ("clip.avi", "libx264", {"bf": "0"}),
        ("clip.asf", "libx264", {"bf": "3"}),
        ("clip.mxf", "libx264", {"bf": "3"}),
        ("clip.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    ],
)
def test_frames_and_times(clip: Clip, name: str, codec: str, options: dict[str, str]) -> None:
    frames = read(clip(name, frames=200, codec=codec, options=options))
    assert list(frames.indices) == numbers(frames) == np.rint(np.linspace(0, 199, 16)).astype(int).tolist()
    assert frames.times == pytest.approx([i / 25 for i in frames.indices], abs=0.002)
    assert frames.pixels.shape == (16, frames.plan.height, frames.plan.width, 3)
    assert (frames.pixels.dtype, frames.reader, frames.warnings) == (np.uint8, "pyav", ())


def test_variable_rate(clip: Clip) -> None:
    ticks = [0, 40, 80, 1000, 1500, 1600, 4000, 4040]
    frames = read(clip("vfr.mkv", frames=8, ticks=ticks))
    assert numbers(frames) == list(range(8))
    assert frames.times == tuple(t / 1000 for t in ticks)


def test_late_start_and_window(clip: Clip) -> None:
    path = clip("late.mp4", frames=100, ticks=[5000 + 40 * i for i in range(100)])
    frames = read(path, FrameRequest(frames=4, start=1.0, end=2.0))
    assert numbers(frames) == [25, 33, 42, 50]
    assert frames.times == pytest.approx([1.0, 1.32, 1.68, 2.0])
    assert frames.plan.offset == pytest.approx(1.0)


def test_single_frame_is_shown_twice(clip: Clip) -> None:
    frames = read(clip(frames=1))
    assert len(frames.pixels) == 2
    assert np.array_equal(*frames.pixels)


def test_rotation_turns_the_picture(clip: Clip) -> None:
    upright = read(clip("up.mp4", frames=2, width=224, height=448)).pixels
    for rotation in (90, 180, -90):
        # A matrix that turns by `rotation` shows this clip upright after turning it.
        turned = read(clip("turned.mp4", frames=2, width=224, height=448, rotation=rotation)).pixels
        expected = np.rot90(upright, rotation // 90, axes=(1, 2))
        assert turned.shape == expected.shape
        assert np.abs(turned.astype(int) - expected).mean() < 4


def test_pixel_aspect_stretches_the_picture(clip: Clip) -> None:
    frames = read(clip(width=128, height=128, aspect=Fraction(2, 1)))
    assert (frames.plan.width, frames.plan.height) == (448, 224)  # of 256x128 displayed
    assert numbers(frames) == list(frames.indices)


@pytest.mark.parametrize(("width", "height"), [(161, 97), (2, 2), (321, 17)])
def test_odd_sizes(clip: Clip, width: int, height: int) -> None:
    assert len(read(clip(width=width, height=height, pix_fmt="yuv444p")).pixels) == 16


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts"])
def test_cut_file_is_read_as_far_as_it_goes(clip: Clip, name: str) -> None:
    path = clip(name, frames=250)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    info = probe(path)
    frames = read(path, info=info)
    assert numbers(frames) == list(frames.indices)
    assert 60 < frames.indices[-1] < 249


def test_frames_missing_at_the_end_are_planned_around(clip: Clip) -> None:
    """A probe that promised more than decodes: as when the last packets are damaged."""
    path = clip(frames=40)
    info = probe(path)
    times = tuple(i / 25 for i in range(60))
    promised = VideoInfo(**{**vars(info), "frames": 60, "times": times, "duration": 2.4})
    frames = read(path, info=promised)
    assert any(w.startswith("video ends early: 40 of 60 frames") for w in frames.warnings)
    assert numbers(frames) == list(frames.indices) == list(plan_frames(info, FrameRequest()).indices)
    assert frames.plan.sampled_fps == pytest.approx(10.0)


def test_damaged_packets_cost_their_own_frames(clip: Clip) -> None:
    path = clip("intra.mov", frames=60, codec="png", pix_fmt="rgb24")
    data = bytearray(path.read_bytes())
    middle = data.index(b"\x89PNG", len(data) // 2)
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    info = probe(path)
    frames = read(path, FrameRequest(frames=60), info)
    assert info.frames == 60
    assert any("video is damaged: 59 of 60 frames" in w for w in frames.warnings)
    assert [round(t * 25) for t in frames.times] == numbers(frames)


def test_nothing_decodes(clip: Clip) -> None:
    path = clip("noise.mov", frames=5, codec="png", pix_fmt="rgb24")
    info = probe(path)
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", bytes(4)))
    with pytest.raises(VideoError, match="no frame"):
        read(path, info=info)
    with pytest.raises(VideoError, match="no frame"):
        probe(path)


def test_readers(clip: Clip) -> None:
    info = probe(clip())
    request = FrameRequest()
    plan = plan_frames(info, request)
    assert [choose_reader(name) for name in ("auto", "pyav")] == ["pyav", "pyav"]
    assert set(READERS) == {"auto", "pyav", "decord", "torchcodec"}
    with pytest.raises(UsageError):
        read_frames(info, plan, request, "opencv")


def test_record(clip: Clip) -> None:
    frames = read(clip())
    assert frames.as_json() == frames.plan.as_json(frames.times, "pyav")
