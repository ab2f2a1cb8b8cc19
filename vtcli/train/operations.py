"""How many floating-point operations a model's parts take, from its configuration alone.

A multiplication and an addition count as two. Only what no implementation gets around is counted: matrix products, and
attention over what may be attended to; so the numbers are lower bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vtcli.models.checkpoint import Checkpoint

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Size:
    """Of one record: tokens of its prompt and of the reply to learn, and the grids (T, H, W) of its videos, patches."""

    prompt: int
    reply: int
    grids: tuple[Grid, ...] = ()


def causal(tokens: int, before: int = 0) -> int:
    """Pairs of a token and one it may attend to, of `tokens` that follow `before` others."""
    return tokens * before + tokens * (tokens + 1) // 2


class Operations:
    """Of one checkpoint, going forward. weights: values of the text model that every token is multiplied with."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        text, vision = checkpoint.text_config, checkpoint.vision_config
        hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
        size = int(text.get("head_dim") or hidden // heads)
        narrow = int(text.get("num_key_value_heads") or heads) * size
        self._layers = int(text["num_hidden_layers"])
        layer = 2 * hidden * (heads * size + narrow) + 3 * hidden * int(text["intermediate_size"])
        self._body, self._head = self._layers * layer, hidden * int(text["vocab_size"])
        self._pair = 4 * heads * size * self._layers
        self.weights = self._body + self._head
        self.kept = 2 * narrow * self._layers
        """Values that are kept of a token, its keys and values."""
        wide = int(vision["hidden_size"])
        self._depth = int(vision["depth"])
        block = 4 * wide * wide + 3 * wide * int(vision["intermediate_size"])
        cut = 3 * checkpoint.temporal_patch_size * checkpoint.patch_size**2 * wide
        merged = wide * checkpoint.merge_size**2
        out = merged * (merged + int(vision.get("out_hidden_size", hidden))) // checkpoint.merge_size**2
        self._patch, self._vision_pair = cut + self._depth * block + out, 4 * wide
        self._whole = len(vision.get("fullatt_block_indexes", ()))
        self._window = int(vision.get("window_size", 112)) // checkpoint.patch_size

    def vision(self, grids: Iterable[Grid]) -> int:
        """The vision tower on videos of these grids: attention stays in a frame pair, mostly in a window of it."""
        total = 0
        for frames, rows, columns in grids:
            near = _squares(rows, self._window) * _squares(columns, self._window)
            pairs = frames * (self._whole * (rows * columns) ** 2 + (self._depth - self._whole) * near)
            total += 2 * self._patch * frames * rows * columns + self._vision_pair * pairs
        return total

    def layers(self, tokens: int) -> int:
        """The text model's layers on `tokens`, attention apart."""
        return 2 * self._body * tokens

    def attention(self, tokens: int, before: int = 0) -> int:
        """All layers' attention of `tokens` that follow `before` others."""
        return self._pair * causal(tokens, before)

    def head(self, tokens: int) -> int:
        """What follows each of `tokens`, over the whole vocabulary."""
        return 2 * self._head * tokens


def _squares(length: int, window: int) -> int:
    """The squares of the windows' lengths, added up."""
    whole, rest = divmod(length, window)
    return whole * window**2 + rest**2
