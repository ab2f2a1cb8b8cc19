"""The keys and values of one sequence, in memory that is got once and written in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class KeyValues:
    """Stands where transformers' attention expects its Cache.

    Per layer two tensors (1, key-value heads, capacity, head size) on that layer's device, made when it first writes;
    the first `length` places are those of tokens read. While `index` is set, a tensor of places, tokens are written
    there and attention is given the whole capacity to mask: the same shapes at every step, as captured steps need them.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.index: Tensor | None = None
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Writes keys and values (1, heads, tokens, size) of a layer behind those kept, and gives all of them."""
        if layer not in self._layers:
            self._layers[layer] = self._room(keys), self._room(values)
        kept_keys, kept_values = self._layers[layer]
        if self.index is not None:
            kept_keys.index_copy_(2, self.index, keys)
            kept_values.index_copy_(2, self.index, values)
            return kept_keys, kept_values
        end = self.length + keys.shape[2]
        kept_keys[:, :, self.length : end] = keys
        kept_values[:, :, self.length : end] = values
        return kept_keys[:, :, :end], kept_values[:, :, :end]

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens read. Some releases of transformers ask, to count positions that are given here anyway."""
        return 0 if self.index is not None else self.length  # a number that changes would be compiled anew

    def _room(self, like: Tensor) -> Tensor:
        batch, heads, _, size = like.shape
        return like.new_zeros(batch, heads, self.capacity, size)  # what is masked must still be a number
