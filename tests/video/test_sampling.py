"""Plans against qwen-vl-utils: its formulas transcribed here, over random videos."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.errors import UsageError, VideoError
from vtcli.video.probe import VideoInfo
from vtcli.video.sampling import FrameRequest, plan_frames, smart_resize


def video(frames: int, fps: float, width: int = 640, height: int = 360, **changes: Any) -> VideoInfo:
    facts: dict[str, Any] = {
        "path": "clip.mp4", "duration": frames / fps, "fps": fps, "width": width, "height": height, "frames": frames,
        "start": 0.0, "times": tuple(i / fps for i in range(frames)), "rotation": 0, "stream": 0, "codec": "h264",
        "warnings": (),
    }  # fmt: skip
    return VideoInfo(**(facts | changes))


def reference(frames: int, fps: float, request: FrameRequest) -> tuple[list[int], float]:
    """Indices and sample fps as qwen-vl-utils 0.0.14 gives them: `_read_video_decord`, transcribed (Apache-2.0)."""
    torch = pytest.importorskip("torch")
    first, last = 0, frames - 1
    longest = frames / fps
    if request.start is not None:
        first = math.ceil(max(0.0, min(request.start, longest)) * fps)
    if request.end is not None:
        last = min(math.floor(max(0.0, min(request.end, longest)) * fps), frames - 1)
    if first >= last and (request.start is not None or request.end is not None):
        raise ValueError("Invalid time range")
    total = last - first + 1
    if request.fps is None:
        assert request.frames is not None
        count = round(request.frames / 2) * 2
    else:
        exact = total / fps * request.fps
        count = min(min(max(exact, 4), math.floor(min(768, total) / 2) * 2), total)
        count = math.floor(count / 2) * 2
    if not 2 <= count <= total:
        raise ValueError("nframes should in interval")
    indices = torch.linspace(first, last, count).round().long().tolist()
    return indices, count / max(total, 1e-6) * fps


def compare(frames: int, fps: float, request: FrameRequest) -> bool:
    """Whether the plan equals the reference; False where the reference refuses the request."""
    try:
        indices, sample_fps = reference(frames, fps, request)
    except ValueError:
        return False
    plan = plan_frames(video(frames, fps), request)
    assert list(plan.indices) == indices, (frames, fps, request)
    assert plan.sampled_fps == sample_fps
    assert plan.second_per_grid == 2 / sample_fps
    return True


def test_indices_are_those_of_qwen_vl_utils() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    draw = random.Random(0)
    compared = 0
    for _ in range(3000):
        frames = int(10 ** draw.uniform(0.3, 3.6))  # longer ones: below
        fps = draw.choice(
            [1.0, 6.9239, 23.976023976023978, 25.0, 29.97002997002997, 30.0, 60.0, draw.uniform(0.5, 120)]
        )
        request = FrameRequest(frames=draw.choice([2, 4, 16, 16, 32, 64, 128, 768, draw.randint(2, 800)]))
        if draw.random() < 0.3:
            request = FrameRequest(frames=None, fps=draw.choice([0.5, 1.0, 2.0, draw.uniform(0.01, 40)]))
        if draw.random() < 0.3:
            ends = sorted(draw.uniform(0, frames / fps) for _ in range(2))
            start, end = draw.choice([(ends[0], ends[1]), (ends[0], None), (None, ends[1])])
            request = FrameRequest(frames=request.frames, fps=request.fps, start=start, end=end)
            if (request.start or 0.0) >= frames / fps:
                continue
        compared += compare(frames, fps, request)
    assert compared > 2000


@pytest.mark.skipif(sys.platform != "linux", reason="torch's last bit depends on the compiler; the paper's was Linux")
def test_long_videos_round_as_torch_does() -> None:
    draw = random.Random(1)
    for _ in range(300):
        request = FrameRequest(frames=draw.choice([16, 64, 256, 768]))
        assert compare(int(10 ** draw.uniform(3.6, 5.5)), 1.0, request)


def test_paper_plan() -> None:
    plan = plan_frames(video(240, 30.0, 1280, 720), FrameRequest())
    assert plan.indices == (0, 16, 32, 48, 64, 80, 96, 112, 127, 143, 159, 175, 191, 207, 223, 239)
    assert (plan.width, plan.height) == (420, 224)
    assert (plan.sampled_fps, plan.second_per_grid, plan.offset, plan.warnings) == (2.0, 1.0, 0.0, ())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (224, 420)),
        ((480, 640), (252, 364)),
        ((360, 640), (224, 420)),
        ((240, 320), (280, 392)),  # brought up to the minimum, and over it
        ((1, 1), (336, 336)),
        ((2160, 3840), (224, 420)),
        ((1280, 720), (420, 224)),
    ],
)
def test_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert smart_resize(*size) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(28 * 28, 10**6))
def test_sizes_are_multiples_and_never_nothing(height: int, width: int, pixels: int) -> None:
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(VideoError):
            smart_resize(height, width, max_pixels=pixels, min_pixels=pixels)
        return
    new_height, new_width = smart_resize(height, width, min_pixels=min(pixels, 100352), max_pixels=pixels)
    assert new_height % 28 == new_width % 28 == 0
    assert min(new_height, new_width) >= 28


def test_max_pixels_below_the_minimum_wins() -> None:
    plan = plan_frames(video(200, 25.0, 128, 128), FrameRequest(max_pixels=12544))
    assert (plan.width, plan.height) == (112, 112)


def test_max_pixels_above_the_limit_of_qwen_vl_utils() -> None:
    plan = plan_frames(video(200, 25.0, 3840, 2160), FrameRequest(max_pixels=10**7))
    assert plan.width * plan.height <= 768 * 28 * 28
    assert any("--max-pixels" in w for w in plan.warnings)
    many = plan_frames(video(3000, 25.0, 3840, 2160), FrameRequest(frames=768, max_pixels=10**7))
    assert many.width * many.height <= 128000 * 28 * 28 * 0.9 / 768 * 2


@pytest.mark.parametrize(
    ("frames", "expected"), [(1, (0, 0)), (2, (0, 1)), (3, (0, 2)), (5, (0, 1, 3, 4)), (10, tuple(range(10)))]
)
def test_short_videos(frames: int, expected: tuple[int, ...]) -> None:
    plan = plan_frames(video(frames, 1.0), FrameRequest())
    assert plan.indices == expected
    assert plan.sampled_fps == len(expected) / frames
    assert any("16 frames were asked for" in w for w in plan.warnings)
    assert plan_frames(video(frames, 1.0), FrameRequest(frames=None, fps=1.0)).indices == expected


@pytest.mark.parametrize(("asked", "used"), [(1, 2), (2, 2), (3, 4), (5, 4), (7, 8), (15, 16)])
def test_odd_numbers_become_pairs(asked: int, used: int) -> None:
    plan = plan_frames(video(250, 25.0), FrameRequest(frames=asked))
    assert len(plan.indices) == used
    assert bool(plan.warnings) == (asked != used)


def test_fps_has_a_floor_and_a_ceiling() -> None:
    assert len(plan_frames(video(250, 25.0), FrameRequest(fps=0.01)).indices) == 4
    assert len(plan_frames(video(100_000, 25.0), FrameRequest(fps=2.0)).indices) == 768
    assert len(plan_frames(video(250, 25.0), FrameRequest(fps=2.0)).indices) == 20


def test_window() -> None:
    plan = plan_frames(video(250, 25.0), FrameRequest(frames=4, start=2.0, end=4.0))
    assert plan.indices == (50, 67, 83, 100)
    assert plan.offset == 2.0
    assert plan.sampled_fps == 4 / 51 * 25
    assert plan_frames(video(250, 25.0), FrameRequest(end=4.0)).offset == 0.0


def test_window_of_a_variable_rate_goes_by_time() -> None:
    times = (*(i * 0.04 for i in range(100)), *(4.0 + i for i in range(20)))
    info = video(120, 5.0, times=times, duration=24.0)
    plan = plan_frames(info, FrameRequest(frames=4, start=10.0, end=20.0))
    assert all(10.0 <= times[i] <= 20.0 for i in plan.indices)
    assert plan.offset == times[plan.indices[0]] == 10.0
    assert any("variable frame rate" in w for w in plan_frames(info, FrameRequest()).warnings)


def test_single_frame_window() -> None:
    plan = plan_frames(video(250, 25.0), FrameRequest(start=2.0, end=2.03))
    assert plan.indices == (50, 50)


def test_end_beyond_the_video_is_said() -> None:
    plan = plan_frames(video(250, 25.0), FrameRequest(end=60.0))
    assert plan.indices[-1] == 249
    assert any("--end" in w for w in plan.warnings)


def test_frames_too_close_to_tell_apart() -> None:
    plan = plan_frames(video(75, 25.0), FrameRequest())
    assert any("--frames 12" in w for w in plan.warnings)
    assert plan_frames(video(75, 25.0), FrameRequest(frames=12)).warnings == ()
    assert plan_frames(video(100, 25.0), FrameRequest()).warnings == ()


@pytest.mark.parametrize(
    "request_",
    [
        FrameRequest(frames=0),
        FrameRequest(frames=-4),
        FrameRequest(frames=None),
        FrameRequest(fps=0.0),
        FrameRequest(fps=float("nan")),
        FrameRequest(fps=float("inf")),
        FrameRequest(start=10.0),
        FrameRequest(start=99.0),
        FrameRequest(start=-1.0),
        FrameRequest(start=float("nan")),
        FrameRequest(end=-1.0),
        FrameRequest(start=3.0, end=3.0),
        FrameRequest(start=3.0, end=2.0),
        FrameRequest(start=2.001, end=2.002),
        FrameRequest(max_pixels=0),
        FrameRequest(max_pixels=783),
    ],
)
def test_requests_that_mean_nothing(request_: FrameRequest) -> None:
    with pytest.raises(UsageError) as error:
        plan_frames(video(250, 25.0), request_)
    assert str(error.value).isprintable()


def test_very_long_pictures_are_refused() -> None:
    with pytest.raises(VideoError, match="times as long"):
        plan_frames(video(250, 25.0, 10_000, 20), FrameRequest())


def test_record() -> None:
    plan = plan_frames(video(250, 25.0), FrameRequest(frames=2))
    assert plan.as_json((0.0, 9.96), "pyav") == {
        "frames": 2, "indices": [0, 249], "times": [0.0, 9.96], "width": 420, "height": 224, "second_per_grid": 10.0,
        "reader": "pyav",
    }  # fmt: skip
