"""Counts the floating-point operations of a model's parts from its configuration alone.

A multiplication and an addition count as two. Only what every implementation must compute is counted: matrix products,
and attention over the pairs that may attend. The numbers are therefore lower bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vtcli.models.checkpoint import Checkpoint

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Size:
    """The size of one record.

    prompt, reply: tokens of its prompt and of the reply to learn. grids: (T, H, W) of its videos, in patches.
    """

    prompt: int
    reply: int
    grids: tuple[Grid, ...] = ()


def causal(tokens: int, before: int = 0) -> int:
    """Counts the pairs of a token and one it may attend to, for `tokens` tokens that follow `before` others."""
    return tokens * before + tokens * (tokens + 1) // 2


class Operations:
    """Operations of one checkpoint's forward pass.

    weights: values of the text model that every token is multiplied with.
    """

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
        """Values per token in the KV cache."""
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
        """Operations of the vision tower on videos of these grids.

        Attention stays within a frame pair, in most blocks within a window of it.
        """
        total = 0
        for frames, rows, columns in grids:
            near = _squares(rows, self._window) * _squares(columns, self._window)
            pairs = frames * (self._whole * (rows * columns) ** 2 + (self._depth - self._whole) * near)
            total += 2 * self._patch * frames * rows * columns + self._vision_pair * pairs
        return total

    def layers(self, tokens: int) -> int:
        """Operations of the text model's layers on `tokens` tokens, without attention."""
        return 2 * self._body * tokens

    def attention(self, tokens: int, before: int = 0) -> int:
        """Operations of all layers' attention, for `tokens` tokens that follow `before` others."""
        return self._pair * causal(tokens, before)

    def head(self, tokens: int) -> int:
        """Operations of the output layer on `tokens` tokens, over the whole vocabulary."""
        return 2 * self._head * tokens


def _squares(length: int, window: int) -> int:
    """Returns the sum of the squared lengths of the windows."""
    whole, rest = divmod(length, window)
    return whole * window**2 + rest**2
