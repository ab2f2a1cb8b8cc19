"""KV cache of completions that grow side by side; a prompt's keys and values are stored once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Growing:
    """Takes the place of transformers' Cache and, while completions grow, of the attention mask.

    Prompts of `lengths` tokens are prefilled one by one, with `prompt` set to the prompt's number. Each decode step
    then reads one token per row, one row per completion, with `length` set to the number of tokens each row already
    has. The rows of a prompt are adjacent; `keep` drops some. If `index` is set, a tensor that holds `length`,
    attention covers the whole capacity and masks what has not been written, so every step has the same shapes, as
    captured steps require.
    """

    def __init__(self, lengths: Sequence[int], copies: int, capacity: int, device: Any) -> None:
        import torch

        self.prompt: int | None = None
        self.length = 0
        self.index: Tensor | None = None
        self._count, self._copies, self._capacity, self._longest = len(lengths), copies, capacity, max(lengths)
        self._prompts: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: (prompts, heads, longest, size)
        self._own: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: (rows, heads, capacity, size)
        self._place = torch.arange(len(lengths) * copies, device=device)  # (rows,) in prompts x copies
        self._places = torch.arange(capacity, device=device)
        before = torch.arange(self._longest, device=device)[None] < torch.tensor(lengths, device=device)[:, None]
        self._unseen = None if bool(before.all()) else ~before[:, None, None]  # (prompts, 1, 1, longest)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Stores the keys and values (1 or rows, heads, tokens, size) of a layer.

        Returns those of the prompt or, while completions grow, those of the rows so far.
        """
        new = keys.to(values.dtype), values  # under autocast only values have the compute dtype
        heads, tokens, size = keys.shape[1:]
        if self.prompt is not None:
            if layer not in self._prompts:
                empty = values.new_zeros(2, self._count, heads, self._longest, size)
                self._prompts[layer] = empty[0], empty[1]
            for kept, added in zip(self._prompts[layer], new, strict=True):
                kept[self.prompt, :, :tokens] = added[0]
            return new
        if layer not in self._own:
            empty = values.new_zeros(2, len(values), heads, self._capacity, size)  # masked entries must be finite
            self._own[layer] = empty[0], empty[1]
        own = self._own[layer]
        if self.index is not None:
            for kept, added in zip(own, new, strict=True):
                kept.index_copy_(2, self.index, added)
            return own
        for kept, added in zip(own, new, strict=True):
            kept[:, :, self.length] = added[:, :, 0]
        return own[0][:, :, : self.length + 1], own[1][:, :, : self.length + 1]

    def attend(self, layer: int, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends from one token per row to its prompt and to the row's own tokens.

        Maps query (rows, heads, 1, size) to (rows, 1, heads, size); keys and values are what `update` returned.
        """
        import torch

        prompt_keys, prompt_values = self._prompts[layer]
        rows, heads, _, size = query.shape
        own = query.to(values.dtype).reshape(rows, keys.shape[1], -1, size) * size**-0.5  # grouped by shared key heads
        ahead = self._by_prompt(own) @ prompt_keys.transpose(2, 3)
        if self._unseen is not None:
            ahead = ahead.masked_fill(self._unseen, float("-inf"))
        so_far = own @ keys.transpose(2, 3)
        if self.index is not None:
            so_far = so_far.masked_fill(self._places > self.index, float("-inf"))
        scores = torch.cat([self._by_row(ahead, own.shape[2]), so_far], -1)
        weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
        before, after = weights[..., : self._longest], weights[..., self._longest :]
        found: Tensor = self._by_row(self._by_prompt(before) @ prompt_values, own.shape[2]) + after @ values
        return found.reshape(rows, 1, heads, size)

    def _by_prompt(self, rows: Tensor) -> Tensor:
        """Maps (rows, heads, n, size) to (prompts, heads, copies * n, size), with zeros for dropped rows."""
        _, heads, each, size = rows.shape
        grid = rows
        if len(rows) < self._count * self._copies:
            grid = rows.new_zeros(self._count * self._copies, heads, each, size).index_copy(0, self._place, rows)
        return grid.view(-1, self._copies, heads, each, size).transpose(1, 2).reshape(self._count, heads, -1, size)

    def _by_row(self, grid: Tensor, each: int) -> Tensor:
        """Reverses `_by_prompt`."""
        _, heads, _, size = grid.shape
        rows = grid.view(-1, heads, self._copies, each, size).transpose(1, 2).reshape(-1, heads, each, size)
        return rows if len(self._place) == len(rows) else rows[self._place]

    def keep(self, rows: Tensor) -> None:
        """Drops the rows for which `rows` (rows,) is False."""
        self._own = {number: (keys[rows], values[rows]) for number, (keys, values) in self._own.items()}
        self._place = self._place[rows]

    def get_seq_length(self, layer: int = 0) -> int:
        """Returns the tokens read so far; some releases of transformers call this."""
        return 0 if self.prompt is not None else self._longest + self.length
