"""The KV cache of one sequence, allocated once and written in place."""

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
    """The shape of one layer: number of key-value heads, head size, and torch's dtype and device."""

    heads: int
    size: int
    dtype: Any
    device: Any


class LastWrittenError(Exception):
    """The last layer's keys and values are written, and the rest of the forward pass is not needed."""


class KeyValues:
    """Replaces transformers' Cache in attention.

    Each layer has two tensors (1, key-value heads, capacity, head size) on its own device, allocated at its first
    write. The first `length` places hold the tokens read.

    While `index` (a tensor of places) is set, tokens are written to those places and attention receives the whole
    capacity, to be masked: captured steps need the same shapes every time. `last` is the number of the last layer while
    only keys and values are wanted; once that layer has written, LastWrittenError ends the forward pass.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.index: Tensor | None = None
        self.last: int | None = None
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Appends keys and values (1, heads, tokens, size) of a layer to those kept; returns all of the layer's."""
        kept_keys, kept_values = self._room(layer, Shape(keys.shape[1], keys.shape[3], keys.dtype, keys.device))
        if self.index is not None:
            kept_keys.index_copy_(2, self.index, keys)
            kept_values.index_copy_(2, self.index, values)
            return kept_keys, kept_values
        end = self.length + keys.shape[2]
        kept_keys[:, :, self.length : end] = keys
        kept_values[:, :, self.length : end] = values
        if layer == self.last:
            raise LastWrittenError
        return kept_keys[:, :, :end], kept_values[:, :, :end]

    def get_seq_length(self, layer: int = 0) -> int:
        """Returns the number of tokens read. Some transformers releases derive positions from it; vt passes its own."""
        return 0 if self.index is not None else self.length  # a changing number would force recompilation

    def save(self, tokens: int) -> list[NDArray[np.uint8]]:
        """Returns the first `tokens` of every layer as bytes: keys and values of the first layer, of the second, ..."""
        import torch

        return [
            kept[:, :, :tokens].cpu().contiguous().view(torch.uint8).numpy().reshape(-1)
            for layer in sorted(self._layers)
            for kept in self._layers[layer]
        ]

    def load(self, data: NDArray[np.uint8], tokens: int, shapes: Sequence[Shape]) -> bool:
        """Restores `data` of `save` for layers of `shapes`, in order, as `tokens` read; returns whether it fits."""
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
        """Returns a layer's keys and values, allocated at the first call."""
        import torch

        if layer not in self._layers:
            sizes = 2, 1, shape.heads, self.capacity, shape.size
            both = torch.zeros(sizes, dtype=shape.dtype, device=shape.device)  # masked values must still be finite
            self._layers[layer] = both[0], both[1]
        return self._layers[layer]
