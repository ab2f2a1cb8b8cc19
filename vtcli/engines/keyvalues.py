"""The keys and values of one sequence, in memory that is got once and written in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """Of one layer: key-value heads, the size of one, and torch's dtype and device."""

    heads: int
    size: int
    dtype: Any
    device: Any


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

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes keys and values (1, heads, tokens, size) of a layer behind those kept, and gives all of them."""
        kept_keys, kept_values = self._room(layer, Shape(keys.shape[1], keys.shape[3], keys.dtype, keys.device))
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

    def save(self, tokens: int) -> list[NDArray[np.uint8]]:
        """The first `tokens` of every layer as bytes: keys and values of the first layer, of the second, ..."""
        import torch

        return [
            kept[:, :, :tokens].cpu().contiguous().view(torch.uint8).numpy().reshape(-1)
            for layer in sorted(self._layers)
            for kept in self._layers[layer]
        ]

    def load(self, data: NDArray[np.uint8], tokens: int, shapes: Sequence[Shape]) -> bool:
        """Takes what `save` gave, for layers of `shapes`, in order; whether it fits. It counts as `tokens` read."""
        import torch

        sizes = [2 * shape.heads * tokens * shape.size * shape.dtype.itemsize for shape in shapes]
        if sum(sizes) != data.nbytes:
            return False
        begin = 0
        for layer, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
            for kept, half in zip(self._room(layer, shape), np.split(data[begin : begin + size], 2), strict=True):
                values = torch.from_numpy(half.copy()).view(shape.dtype)
                kept[:, :, :tokens] = values.reshape(1, shape.heads, tokens, shape.size).to(shape.device)
            begin += size
        self.length = tokens
        return True

    def _room(self, layer: int, shape: Shape) -> tuple[Tensor, Tensor]:
        """A layer's keys and values, made when first asked for."""
        import torch

        if layer not in self._layers:
            sizes = 2, 1, shape.heads, self.capacity, shape.size
            both = torch.zeros(sizes, dtype=shape.dtype, device=shape.device)  # what is masked must still be a number
            self._layers[layer] = both[0], both[1]
        return self._layers[layer]
