"""One clip and one prompt → token layout and M-RoPE positions; pure numpy, no engine.

The rule is that of transformers 4.51.3 (`Qwen2_5_VLForConditionalGeneration.get_rope_index`), under which the
checkpoints of this family were trained and which the vLLM engines still keep. Later transformers releases differ,
each in its own way (huggingface/transformers#45381, #48669), so positions are computed here and given to every
engine explicitly.
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
    """A prompt as the model sees it. L tokens, of which `video_tokens` are cells of the clip.

    input_ids (L,) and positions (3, L) — time, row, column — are int64; `grid` is (T, H, W) in patches, T frame
    pairs. `next_position` is where the first generated token stands, the same on all three axes.
    """

    input_ids: Ids
    positions: Ids
    grid: tuple[int, int, int]
    video_tokens: int
    next_position: int


def mrope_positions(
    input_ids: ArrayLike,
    grid: tuple[int, int, int],
    second_per_grid: float,
    *,
    video_token_id: int,
    merge_size: int = 2,
    tokens_per_second: float = 2,
) -> Ids:
    """Positions (3, L) of a prompt with at most one video, whose tokens stand together.

    Text counts up by one on all axes. With `start` the next free position, the video cell (i, row, column) stands at
    (start + floor(i · second_per_grid · tokens_per_second), start + row, start + column), and the text after it
    resumes at the maximum over all axes + 1. Raises ValueError when the video tokens do not match the grid.
    """
    ids = np.asarray(input_ids, dtype=np.int64)
    where = np.flatnonzero(ids == video_token_id)
    if where.size == 0:
        return _text(0, ids.size)
    count = video_token_count(grid, merge_size)
    first = int(where[0])
    if where.size != count or int(where[-1]) - first + 1 != count:
        raise ValueError(f"{where.size} video tokens do not form one run of {count}, the grid {grid}")

    t, h, w = grid[0], grid[1] // merge_size, grid[2] // merge_size
    # float32 and this order, as in 4.51: float64 gives other whole numbers (at 2.6 fps, grid 39: 60, not 59).
    steps = np.arange(t).astype(np.float32) * np.float32(second_per_grid) * np.float32(tokens_per_second)
    cells = np.stack(np.meshgrid(steps.astype(np.int64), np.arange(h), np.arange(w), indexing="ij"))
    video = cells.reshape(3, count) + first
    after = _text(int(video.max()) + 1, ids.size - first - count)
    return np.concatenate([_text(0, first), video, after], axis=1)


def build_layout(
    prompt_ids: Sequence[int],
    grid: tuple[int, int, int],
    second_per_grid: float,
    *,
    video_token_id: int,
    merge_size: int = 2,
    tokens_per_second: float = 2,
) -> Layout:
    """Expands the prompt's single video token to the clip's cells and numbers everything.

    `prompt_ids` come from the chat template (one `<|video_pad|>`); `second_per_grid` is the seconds between
    frame pairs, 2 / sampled fps. Raises ValueError unless there is exactly one video token.
    """
    ids = np.asarray(prompt_ids, dtype=np.int64)
    where = np.flatnonzero(ids == video_token_id)
    if where.size != 1:
        raise ValueError(f"the prompt holds {where.size} video tokens, not one")
    count = video_token_count(grid, merge_size)
    full = np.insert(ids, where[0], np.full(count - 1, video_token_id))
    positions = mrope_positions(
        full,
        grid,
        second_per_grid,
        video_token_id=video_token_id,
        merge_size=merge_size,
        tokens_per_second=tokens_per_second,
    )
    return Layout(full, positions, grid, count, int(positions.max()) + 1)


def _text(start: int, length: int) -> Ids:
    return np.tile(np.arange(start, start + length, dtype=np.int64), (3, 1))
