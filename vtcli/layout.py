"""One clip and one prompt → token layout and M-RoPE positions; pure numpy, no engine.

Positions follow the rule of transformers 4.51.3 (`Qwen2_5_VLForConditionalGeneration.get_rope_index`). The checkpoints
of this family were trained under this rule, and the vLLM engines still follow it. Later transformers releases differ,
each in its own way (huggingface/transformers#45381, #48669), so positions are computed here and passed to every engine
explicitly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtcli.tokens import video_token_count

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """A prompt as the model sees it: L tokens, `video_tokens` of them video cells.

    input_ids (L,) and positions (3, L) — time, row, column — are int64. `grid` is (T, H, W) in patches, with T frame
    pairs. `next_position` is the position of the first generated token, the same on all three axes.
    """

    input_ids: Ids
    positions: Ids
    grid: tuple[int, int, int]
    video_tokens: int
    next_position: int


@dataclass(frozen=True)
class Shape:
    """The shape of one video in a prompt: its grid (T, H, W) in patches, and the seconds between frame pairs."""

    grid: tuple[int, int, int]
    second_per_grid: float


def mrope_positions(
    input_ids: ArrayLike,
    grid: tuple[int, int, int],
    second_per_grid: float,
    *,
    video_token_id: int,
    merge_size: int = 2,
    tokens_per_second: float = 2,
) -> Ids:
    """Returns positions (3, L) of a prompt with at most one video, its tokens contiguous; see `number`."""
    ids = np.asarray(input_ids, dtype=np.int64)
    shapes = [Shape(grid, second_per_grid)] if (ids == video_token_id).any() else []
    return number(
        ids, shapes, video_token_id=video_token_id, merge_size=merge_size, tokens_per_second=tokens_per_second
    )


def number(
    ids: Ids, shapes: Sequence[Shape], *, video_token_id: int, merge_size: int = 2, tokens_per_second: float = 2
) -> Ids:
    """Returns positions (3, L) of ids (L,) with the videos of `shapes` in order, each as one run of video tokens.

    Text positions increase by one per token on all axes. With `start` the next free position, the video cell
    (i, row, column) has the position (start + floor(i · second_per_grid · tokens_per_second), start + row,
    start + column). Text after a video resumes at the maximum over all axes + 1. Raises ValueError if the video tokens
    do not match the grids.
    """
    where = np.flatnonzero(ids == video_token_id)
    counts = [video_token_count(shape.grid, merge_size) for shape in shapes]
    if where.size != sum(counts):
        runs = " and ".join(f"one run of {count}, the grid {s.grid}" for count, s in zip(counts, shapes, strict=True))
        raise ValueError(f"{where.size} video tokens do not form {runs or 'a text without videos'}")
    pieces, done, taken = [_text(0, 0)], 0, 0
    start = 0
    for shape, count in zip(shapes, counts, strict=True):
        first = int(where[taken])
        if int(where[taken + count - 1]) - first + 1 != count:
            raise ValueError(f"the video tokens do not form one run of {count}, the grid {shape.grid}")
        pieces.append(_text(start, first - done))
        start += first - done
        video = _cells(shape, merge_size, tokens_per_second) + start
        pieces.append(video)
        start, done, taken = int(video.max()) + 1, first + count, taken + count
    return np.concatenate([*pieces, _text(start, ids.size - done)], axis=1)


def expand(prompt_ids: Sequence[int], shapes: Sequence[Shape], video_token_id: int, merge_size: int = 2) -> Ids:
    """Repeats the single video token of each video in `prompt_ids` once per cell of that video.

    Raises ValueError unless the number of video tokens equals the number of `shapes`.
    """
    ids = np.asarray(prompt_ids, dtype=np.int64)
    where = np.flatnonzero(ids == video_token_id)
    if where.size != len(shapes):
        raise ValueError(
            f"the prompt holds {where.size} video tokens, not {'one' if len(shapes) == 1 else len(shapes)}"
        )
    times = np.ones(ids.size, np.int64)
    times[where] = [video_token_count(shape.grid, merge_size) for shape in shapes]
    return np.repeat(ids, times)


def build_layout(
    prompt_ids: Sequence[int],
    grid: tuple[int, int, int],
    second_per_grid: float,
    *,
    video_token_id: int,
    merge_size: int = 2,
    tokens_per_second: float = 2,
) -> Layout:
    """Expands the prompt's single video token to the clip's cells and assigns all positions.

    `prompt_ids` come from the chat template (one `<|video_pad|>`). `second_per_grid` is the number of seconds between
    frame pairs, 2 / sampled fps. Raises ValueError unless the prompt holds exactly one video token.
    """
    shapes = [Shape(grid, second_per_grid)]
    full = expand(prompt_ids, shapes, video_token_id, merge_size)
    positions = number(
        full, shapes, video_token_id=video_token_id, merge_size=merge_size, tokens_per_second=tokens_per_second
    )
    return Layout(full, positions, grid, video_token_count(grid, merge_size), int(positions.max()) + 1)


def _cells(shape: Shape, merge_size: int, tokens_per_second: float) -> Ids:
    """Returns positions (3, cells) of a video's cells, starting at 0."""
    t, h, w = shape.grid[0], shape.grid[1] // merge_size, shape.grid[2] // merge_size
    # float32 and this order of operations, as in 4.51: float64 gives other integers (at 2.6 fps, grid 39: 60, not 59).
    steps = np.arange(t).astype(np.float32) * np.float32(shape.second_per_grid) * np.float32(tokens_per_second)
    return np.stack(np.meshgrid(steps.astype(np.int64), np.arange(h), np.arange(w), indexing="ij")).reshape(3, -1)


def _text(start: int, length: int) -> Ids:
    return np.tile(np.arange(start, start + length, dtype=np.int64), (3, 1))
