"""Read the tensors of safetensors files one at a time, without torch, although numpy has no bfloat16."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vtcli.errors import ModelError
from vtcli.models.weights import published_name, read_header

_BLOCK = 2**22  # values
_LARGEST = 65504.0  # of F16
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # bfloat16 as its raw bits


@dataclass(frozen=True)
class Stored:
    """One tensor: `dtype` F32, F16 or BF16, `offset` in bytes from the file's beginning."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self) -> NDArray[np.generic]:
        """Returns the values as stored; bfloat16 as uint16."""
        kind = np.dtype(_DTYPES[self.dtype])
        return np.fromfile(self.file, kind, prod(self.shape), offset=self.offset).reshape(self.shape)


def stored_tensors(files: Iterable[Path]) -> dict[str, Stored]:
    """Returns all tensors of `files` by their names in published checkpoints; transformers 5 saves longer names.

    Raises ModelError for a dtype that cannot be exported.
    """
    found = {}
    for file in files:
        tensors, begin = read_header(file)
        for name, entry in tensors.items():
            if entry["dtype"] not in _DTYPES:
                raise ModelError(f"{file}: {name} holds {entry['dtype']}, which cannot be exported")
            shape, offset = tuple(entry["shape"]), begin + entry["data_offsets"][0]
            found[published_name(name)] = Stored(file, name, entry["dtype"], shape, offset)
    return found


def cast(values: NDArray[np.generic], dtype: str, target: str) -> NDArray[np.generic]:
    """Converts `values` of `dtype` to F32, F16 or BF16 (raw bits, rounded to nearest, ties to even), block by block.

    Raises OverflowError if a value is beyond the range of F16.
    """
    if dtype == target:
        return values
    flat, made = values.reshape(-1), np.empty(values.size, _DTYPES[target])
    for begin in range(0, values.size, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        exact = (flat[part].astype("<u4") << 16).view("<f4") if dtype == "BF16" else flat[part].astype("<f4")
        if target == "BF16":
            bits = exact.view("<u4")
            made[part] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            continue
        if target == "F16" and float(np.abs(exact).max()) > _LARGEST:
            raise OverflowError(f"{float(np.abs(exact).max()):.3g} is beyond what F16 can hold")
        made[part] = exact
    return made.reshape(values.shape)
