"""Frames and times against the `ffmpeg` command, an FFmpeg of its own that decodes every clip from its first frame on.

Debian 12's is FFmpeg 5.1, PyAV brings FFmpeg 8. Where the two differ, a test below says in what and why.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video.conftest import Clip, number_of
from vtcli.errors import VideoError
from vtcli.video.picture import Picture, fit
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames

LEVELS = 0.1  # mean difference of a frame, of 256
HDR_LEVELS = 1.0  # FFmpeg 5 and 8 round 10-bit BT.2020 differently
DAMAGED = "corrupted.mp4"  # test_damaged_clip

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@dataclass(frozen=True)
class Truth:
    """What ffmpeg gives for the wanted frames: pictures as displayed but for pixel aspect, and times from the first."""

    pictures: list[Picture]
    times: list[float]


def ffmpeg(info: VideoInfo, path: Path, indices: list[int]) -> Truth:
    """Decodes stream `info.stream` of `path`; `indices` ascend from 0."""
    chosen = "+".join(f"eq(n,{index})" for index in indices)
    command = [
        "ffmpeg", "-hide_banner", "-nostdin", "-threads", "1", "-i", f"file:{path}", "-map", f"0:{info.stream}",
        "-vf", f"select={chosen!r},showinfo", "-fps_mode", "passthrough", "-frames:v", str(len(indices)),
        "-pix_fmt", "rgb24", "-f", "rawvideo", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=600)
    log = done.stderr.decode(errors="replace")
    base = Fraction(re.findall(r"config in time_base: (\d+/\d+)", log)[-1])
    shown = re.findall(r"n: *\d+ pts: *(-?\d+) .*? s:(\d+)x(\d+)", log)
    width, height = map(int, shown[0][1:])
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    ticks = [int(pts) for pts, _, _ in shown]
    return Truth(list(pictures), [float((tick - ticks[0]) * base) for tick in ticks])


def read(path: Path, **wanted: Any) -> tuple[VideoInfo, Frames]:
    request = FrameRequest(**wanted)
    info = probe(path)
    return info, read_frames(info, plan_frames(info, request), request)


def compare(info: VideoInfo, frames: Frames, path: Path, levels: float = LEVELS) -> None:
    indices = sorted(set(frames.indices))
    truth = ffmpeg(info, path, indices)
    assert len(truth.pictures) == len(indices), path
    assert truth.times == pytest.approx([frames.times[frames.indices.index(i)] for i in indices], abs=1e-4), path
    for index, picture in zip(indices, truth.pictures, strict=True):
        ours = frames.pixels[frames.indices.index(index)]
        theirs = fit(picture, 0, frames.plan.width, frames.plan.height)
        assert np.abs(ours.astype(int) - theirs).mean() < levels, (path, index)


@pytest.fixture(scope="module")
def videos(material: Path) -> Path:
    return material / "videos"


@pytest.mark.slow
def test_every_clip_of_the_material(videos: Path) -> None:
    checked = 0
    for path in sorted(videos.rglob("*")):
        try:
            info, frames = read(path)
        except VideoError:
            continue
        if path.name != DAMAGED:
            compare(info, frames, path, HDR_LEVELS if "_hdr" in path.name else LEVELS)
            checked += 1
    assert checked >= 39


def test_damaged_clip(videos: Path) -> None:
    """The same frames at the same times; behind the damage each release of FFmpeg guesses pictures of its own."""
    path = videos / "decord" / DAMAGED
    info, frames = read(path, frames=48)
    truth = ffmpeg(info, path, list(range(info.frames)))
    assert len(truth.pictures) == frames.indices[-1] + 1 == 49
    assert frames.times == pytest.approx([truth.times[index] for index in frames.indices], abs=1e-4)
    for index, picture in zip(frames.indices, frames.pixels, strict=True):
        theirs = fit(truth.pictures[index], 0, frames.plan.width, frames.plan.height)
        if index <= 28:
            assert np.abs(picture.astype(int) - theirs).mean() < LEVELS, index


CLIPS: dict[str, dict[str, Any]] = {
    "b-frames.mp4": {"options": {"bf": "3", "g": "24"}},
    "open.mp4": {"options": {"bf": "3", "x264-params": "open-gop=1:keyint=24:min-keyint=24:scenecut=0"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "keyint=24:min-keyint=24:bframes=3:log-level=0"}},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "10", "auto-alt-ref": "1", "cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "24"}},
    "clip.ts": {"options": {"bf": "2", "g": "24"}},
    "clip.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "clip.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "uneven.mp4": {"options": {"bf": "3"}, "ticks": [40 * i + i % 3 * 9 + i // 40 * 700 for i in range(120)]},
    "uneven.mkv": {"options": {"bf": "3"}, "ticks": [40 * i + i % 3 * 9 + i // 40 * 700 for i in range(120)]},
    "late.mp4": {"ticks": [5000 + 40 * i for i in range(120)]},
    "late.ts": {"ticks": [5000 + 40 * i for i in range(120)]},
    "turned.mp4": {"width": 256, "rotation": 180},
    "deep.mp4": {"codec": "libx265", "pix_fmt": "yuv422p10le", "options": {"x265-params": "log-level=0"}},
}


@pytest.mark.parametrize("name", CLIPS)
def test_generated_clips(clip: Clip, name: str) -> None:
    """Three answers agree: the number in the picture, ffmpeg's frame, ours."""
    path = clip(name, **{"frames": 120, **CLIPS[name]})
    info, frames = read(path)
    if not info.rotation:
        assert [number_of(picture) for picture in frames.pixels] == list(frames.indices)
    compare(info, frames, path)


def test_every_frame_of_a_clip(clip: Clip) -> None:
    path = clip(frames=100, options={"bf": "3", "g": "24"})
    info, frames = read(path, frames=100)
    assert list(frames.indices) == list(range(100))
    compare(info, frames, path)


def seconds_shown(picture: Picture) -> tuple[int, float]:
    """What the test card shows: whole seconds by the bar's white fields, the rest by how far its clock has turned."""
    height, width = picture.shape[:2]
    grey = picture.mean(axis=-1)
    fields = [grey[round(0.83 * height), round((0.0476 + 0.0565 * (k + 0.5)) * width)] for k in range(16)]
    whole = sum(field > 200 for field in fields) - 1
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - 0.125 * width, y - 0.5 * height) < 0.07 * width
    white = float((grey[disc] > 127).mean())
    return whole, white if whole % 2 == 0 else 1 - white


def test_running_timecode(videos: Path) -> None:
    """The seconds change exactly where the times cross them, and between them the clock stands where it should."""
    _, frames = read(videos / "moviepy/doc_medias_long_examples_example.mp4", frames=400)
    for time, picture in zip(frames.times, frames.pixels, strict=True):
        whole, rest = seconds_shown(picture)
        assert whole == int(time + 1e-6), time
        assert rest == pytest.approx(time % 1, abs=0.03), time
