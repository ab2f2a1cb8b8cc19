from __future__ import annotations

import numpy as np
import pytest

from vtcli.layout import build_layout, mrope_positions
from vtcli.tokens import video_token_count

VIDEO = 99


def times(frames: int, second_per_grid: float, before: int = 15, **kwargs: float) -> list[int]:
    """Time ids of a clip of `frames` pairs of 2x2 patches, one cell each."""
    layout = build_layout([1] * before + [VIDEO, 2], (frames, 2, 2), second_per_grid, video_token_id=VIDEO, **kwargs)
    return layout.positions[0, before : before + frames].tolist()


@pytest.mark.parametrize(
    ("second_per_grid", "t", "text"),
    [
        (3.75, [15, 22, 30, 37, 45, 52, 60, 67], 68),
        (37.5, [15, 90, 165, 240, 315, 390, 465, 540], 541),
        (75.0, [15, 165, 315, 465, 615, 765, 915, 1065], 1066),
    ],
)
def test_positions_of_the_reference_release(second_per_grid: float, t: list[int], text: int) -> None:
    """The table taken from transformers 4.51.3: 16 frames of 420x224 after 15 text tokens."""
    layout = build_layout([1] * 15 + [VIDEO] + [2] * 4, (8, 16, 30), second_per_grid, video_token_id=VIDEO)
    assert layout.video_tokens == video_token_count((8, 16, 30)) == 960
    assert layout.input_ids.tolist() == [1] * 15 + [VIDEO] * 960 + [2] * 4
    assert layout.positions.shape == (3, 979) and layout.positions.dtype == np.int64
    video = layout.positions[:, 15:975].reshape(3, 8, 8, 15)
    assert (video[0] == np.array(t)[:, None, None]).all()
    assert (video[1] == 15 + np.arange(8)[None, :, None]).all()
    assert (video[2] == 15 + np.arange(15)[None, None, :]).all()
    assert layout.positions[:, :15].tolist() == [list(range(15))] * 3
    assert layout.positions[:, 975:].tolist() == [list(range(text, text + 4))] * 3
    assert layout.next_position == text + 4


def test_a_wide_short_clip_resumes_after_its_width() -> None:
    layout = build_layout([1, VIDEO, 2], (1, 4, 20), 1.0, video_token_id=VIDEO)
    assert layout.positions[:, -1].tolist() == [11, 11, 11]  # 1 + 9 columns + 1


@pytest.mark.parametrize(
    ("fps", "t"),
    [
        (24, [1, 1, 1, 1]),
        (8, [1, 1, 2, 2]),
        (5, [1, 1, 2, 3]),
        (4, [1, 2, 3, 4]),
        (2, [1, 3, 5, 7]),
        (1.5, [1, 3, 6, 9]),
        (1, [1, 5, 9, 13]),
    ],
)
def test_ties_above_four_frames_a_second(fps: float, t: list[int]) -> None:
    assert times(4, 2 / fps, before=1) == t


@pytest.mark.parametrize(("fps", "grid", "t"), [(1.3, 39, 120), (2.6, 39, 60), (3.7, 37, 40)])
def test_arithmetic_is_float32(fps: float, grid: int, t: int) -> None:
    assert times(grid + 1, 2 / fps, before=0)[grid] == t
    assert int(grid * (2 / fps) * 2) == t - 1  # what float64 would say


def test_order_of_the_products() -> None:
    """arange · seconds · tokens per second: another order differs when the last is not a power of two."""
    seconds = [2 / fps for fps in np.arange(0.3, 6, 0.1)]
    steps = np.arange(64, dtype=np.float32)
    expected = [((steps * np.float32(s)) * np.float32(25)).astype(int).tolist() for s in seconds]
    assert [times(64, s, before=0, tokens_per_second=25) for s in seconds] == expected
    assert expected != [(steps * (np.float32(25) * np.float32(s))).astype(int).tolist() for s in seconds]


def test_text_only_and_video_at_either_end() -> None:
    assert mrope_positions([1, 2, 3], (1, 2, 2), 1.0, video_token_id=VIDEO).tolist() == [[0, 1, 2]] * 3
    assert mrope_positions([], (1, 2, 2), 1.0, video_token_id=VIDEO).shape == (3, 0)
    alone = build_layout([VIDEO], (2, 4, 4), 1.0, video_token_id=VIDEO)
    assert alone.positions.tolist() == [[0] * 4 + [2] * 4, [0, 0, 1, 1] * 2, [0, 1, 0, 1] * 2]
    assert alone.next_position == 3


@pytest.mark.parametrize("ids", [[1, 2], [1, VIDEO, 2, VIDEO]])
def test_one_video_token_is_asked_for(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="video tokens, not one"):
        build_layout(ids, (1, 2, 2), 1.0, video_token_id=VIDEO)


@pytest.mark.parametrize("ids", [[VIDEO], [VIDEO, 1, VIDEO], [VIDEO] * 3])
def test_video_tokens_must_match_the_grid(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="one run of 2"):
        mrope_positions(ids, (2, 2, 2), 1.0, video_token_id=VIDEO)
