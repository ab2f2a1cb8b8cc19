"""Real clips against ffprobe's facts, where the material is on this machine."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vtcli.errors import VideoError
from vtcli.video.probe import probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames


@pytest.fixture(scope="module")
def videos(material: Path) -> Path:
    return material / "videos"


@pytest.fixture(scope="module")
def facts(videos: Path) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads((videos / "probe.json").read_text())}


def read(path: Path) -> tuple[Frames, tuple[str, ...]]:
    request = FrameRequest()
    info = probe(path)
    frames = read_frames(info, plan_frames(info, request), request)
    return frames, (*info.warnings, *frames.plan.warnings, *frames.warnings)


def test_facts_of_every_clip(videos: Path, facts: dict[str, dict[str, Any]]) -> None:
    """Frames, size, rate and rotation are ffprobe's, save where a test below says why not."""
    special = {"torchcodec/nasa_13013.mp4", "decord/corrupted.mp4", "derived/vfr.mkv"}
    checked = 0
    for name, fact in facts.items():
        films = [s for s in fact["streams"] if s["t"] == "v" and not s["pic"]]
        if not films:
            with pytest.raises(VideoError):
                probe(videos / name)
            continue
        if name in special:
            continue
        film, info = films[0], probe(videos / name)
        assert info.frames == int(fact["decoded"]), name
        assert info.fps == pytest.approx(float(Fraction(film["avg"])), rel=1e-9), name
        assert info.rotation == (film["rot"] or [0])[0], name
        aspect = Fraction(film["sar"].replace(":", "/")) if film["sar"] else 1
        size = (round(film["w"] * aspect), film["h"])
        assert (info.width, info.height) == (size[::-1] if info.rotation % 180 else size), name
        checked += 1
    assert checked > 30


def test_every_clip_gives_its_frames(videos: Path, facts: dict[str, dict[str, Any]]) -> None:
    for name in facts:
        try:
            info = probe(videos / name)
        except VideoError:
            continue
        frames, _ = read(videos / name)
        assert len(frames.pixels) == len(frames.times) == len(frames.indices) in (2, 4, 10, 12, 16), name
        assert list(frames.times) == sorted(frames.times), name
        assert max(frames.times) <= info.duration, name


def test_best_stream_and_its_own_end(videos: Path) -> None:
    info = probe(videos / "torchcodec/nasa_13013.mp4")
    assert (info.stream, info.width, info.height, info.frames) == (3, 480, 270, 390)
    assert info.duration == pytest.approx(13.013)


@pytest.mark.parametrize(
    ("name", "start"), [("torchcodec/test_non_zero_start.mp4", 8.333), ("derived/fragmented.mp4", 0.0897)]
)
def test_late_starts(videos: Path, name: str, start: float) -> None:
    info = probe(videos / name)
    assert info.start == pytest.approx(start, abs=1e-3)
    assert info.times[0] == 0.0
    assert info.warnings == ()


def test_no_duration(videos: Path) -> None:
    info = probe(videos / "moviepy/no_duration.webm")
    assert info.duration == pytest.approx(4.938, abs=0.01)


def test_edit_list_hides_its_frames(videos: Path) -> None:
    assert probe(videos / "torchcodec/discard_first_keyframe.mp4").frames == 25


def test_variable_rate(videos: Path) -> None:
    info = probe(videos / "derived/vfr.mkv")  # states 28 frames a second
    assert info.fps == pytest.approx(68 / 9.821, rel=1e-3)
    assert any("states 28" in w for w in info.warnings)


@pytest.mark.parametrize("name", ["derived/truncated_faststart.mp4", "derived/truncated.mkv"])
def test_cut_files(videos: Path, name: str) -> None:
    frames, warnings = read(videos / name)
    assert 255 <= frames.indices[-1] <= 262
    assert frames.times[-1] == pytest.approx(11.75, abs=0.1)
    assert frames.plan.sampled_fps == pytest.approx(16 / (frames.indices[-1] + 1) * 22.29)
    assert any("video ends early" in w and "of 491 frames" in w for w in warnings)


def test_damaged_file(videos: Path) -> None:
    frames, warnings = read(videos / "decord/corrupted.mp4")
    assert frames.indices[-1] == 48
    assert "video is damaged: 49 of 50 frames could be read" in warnings


def test_clean_clips_bring_no_warning(videos: Path) -> None:
    for name in ("llamafactory/1.mp4", "llamafactory/2.avi", "video-r1/video1.mp4", "imageio-binaries/cockatoo.mp4"):
        assert read(videos / name)[1] == (), name


def test_seek_trap_is_read_in_sequence(videos: Path) -> None:
    frames, _ = read(videos / "imageio-binaries/cockatoo.mp4")
    red, green, blue = (frames.pixels[..., c].mean() for c in range(3))
    assert green < 1.5 * max(red, blue)  # a bad seek gives plain green
    assert np.ptp(frames.pixels) > 150
