"""Read the header of a GGUF file: its metadata and tensor table, without the tensors.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The gguf package
reads it too, but takes many seconds for a vocabulary of 150,000 words, longer than all other work before the model is
loaded (`benchmarks/gguf_header.py`).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NUMERIC = ("general.alignment", "split.count")
_DIMENSIONS = 4  # GGML_MAX_DIMS in ggml.h
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
}
"""Tensor types: name, values per block, bytes per block (ggml.h and ggml-common.h)."""


@dataclass(frozen=True)
class Tensor:
    """A tensor. `shape` is in GGUF's order, fastest dimension first; `type` is "F16", "Q4_K" etc.; `bytes` on disk."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Gguf:
    """A file's metadata by key (numbers, strings, lists) and its tensors by name."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    bytes: int

    @property
    def architecture(self) -> str:
        """The architecture, such as "qwen2vl", or "clip" for a projector."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())


def is_gguf(path: Path) -> bool:
    """Whether `path` is a file that begins with GGUF's magic bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"GGUF"
    except OSError:
        return False


def gguf_architecture(path: Path) -> str | None:
    """Returns `general.architecture` if it is the header's first key, as with all known writers; else None."""
    key = b"general.architecture"
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
        if head[:4] != b"GGUF" or head[32 : 32 + len(key)] != key:
            return None
        at = 32 + len(key) + 4
        return head[at + 8 : at + 8 + int.from_bytes(head[at : at + 8], "little")].decode()
    except (OSError, UnicodeDecodeError):
        return None


def read_gguf(path: Path) -> Gguf:
    """Reads the header of a GGUF file. Raises ModelError if it is not GGUF, of an unknown version, or truncated."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)  # a model, and the projectors beside it
def _read(path: Path, size: int, changed: int) -> Gguf:
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(path, data).read()
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelError(f"{path} is not a GGUF file: {error}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (struct.error, IndexError, TypeError, MemoryError, OverflowError) as error:
        raise ModelError(f"{path} is cut short or damaged within its header (download it again)") from error


class _Header:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 0

    def read(self) -> Gguf:
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"version {version & 0xFFFF or version >> 24} of the format, or big-endian")
        tensor_count, key_count = self._number("Q"), self._number("Q")
        metadata = {}
        for _ in range(key_count):
            key = self._string()
            metadata[key] = self._value(self._number("I"))
            if (key in _NUMERIC or key.endswith("_token_id")) and type(metadata[key]) is not int:
                raise ValueError(f"{key} is not a number")
        tensors, ends = {}, [0]
        for _ in range(tensor_count):
            name = self._string()
            tensor, offset = self._tensor(name, self._shape(name)), self._number("Q")
            tensors[name] = tensor
            ends.append(offset + tensor.bytes)
        if (step := metadata.get("general.alignment", 32)) < 1:
            raise ValueError(f"general.alignment is {step}")
        begin = -(-self._at // step) * step
        if tensors and begin + max(ends) > len(self._data):
            raise ModelError(
                f"{self._path} is cut short: {len(self._data)} of {begin + max(ends)} bytes (download it again)"
            )
        return Gguf(self._path, metadata, tensors, len(self._data))

    def _shape(self, name: str) -> tuple[int, ...]:
        if (dimensions := self._number("I")) > _DIMENSIONS:
            raise ValueError(f"{name} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        if prod(shape) > 8 * len(self._data):  # every type takes more than one bit for a value
            raise ModelError(f"{self._path} is cut short: {name} is larger than the file (download it again)")
        return shape

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        number = self._number("I")
        kind, block, size = _TYPES.get(number, (f"type {number}", 1, 0))  # the size of an unknown type is unknown
        return Tensor(name, shape, kind, prod(shape) // block * size)

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise ValueError(f"metadata of the unknown type {kind}")
        kind, count = self._number("I"), self._number("Q")
        if count > len(self._data):
            raise IndexError
        if kind == _ARRAY:
            raise ValueError("metadata with lists of lists")
        if kind in _NUMBERS:
            layout = f"<{count}{_NUMBERS[kind]}"
            values = struct.unpack_from(layout, self._data, self._at)
            self._at += struct.calcsize(layout)
            return list(values)
        return [self._value(kind) for _ in range(count)]

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self._data, self._at)
        self._at += struct.calcsize(f"<{code}")
        return value

    def _string(self) -> str:
        length = self._number("Q")
        end = self._at + length
        if end > len(self._data):
            raise IndexError
        text = self._data[self._at : end].decode("utf-8", "surrogateescape")
        self._at = end
        return text
