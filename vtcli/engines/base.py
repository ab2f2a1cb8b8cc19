"""The interface of all engines (open, stream, close), and their input and output types."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vtcli.errors import UsageError
from vtcli.layout import Layout

#: A temperature below this means greedy decoding, as in vLLM: dividing by it would overflow.
GREEDY_TEMPERATURE = 1e-5


#: Capacity is rounded up to a multiple of this many tokens.
ROUNDED = 512
Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are sampled; the defaults are the paper's. With `seed` None, every request draws a fresh seed."""

    max_tokens: int = 1024
    temperature: float = 0.1
    top_p: float = 0.001
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens}: ask for at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature {self.temperature}: give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p {self.top_p}: give a number above 0 and at most 1")

    @property
    def greedy(self) -> bool:
        """Whether decoding always takes the most likely token."""
        return self.temperature < GREEDY_TEMPERATURE


@dataclass(frozen=True, eq=False)
class Request:
    """One question: tokens and positions, the clip's frames uint8 (N, height, width, 3), and how to sample."""

    layout: Layout
    pixels: NDArray[np.uint8]
    second_per_grid: float
    sampling: SamplingOptions = SamplingOptions()

    @property
    def capacity(self) -> int:
        """Tokens to allocate: the prompt's, the reply's, and spare ones for a longer question later."""
        tokens = int(self.layout.input_ids.size) + self.sampling.max_tokens
        return -(-tokens // ROUNDED) * ROUNDED

    @property
    def grid(self) -> tuple[int, int, int]:
        """(T, H, W) of the clip in patches."""
        return self.layout.grid


@dataclass(frozen=True)
class StreamStats:
    """The outcome of a request. Times are in seconds; `completion_tokens` includes the end token, as in vLLM."""

    finish: Literal["stop", "length", "interrupted"]
    completion_tokens: int
    encode: float
    prefill: float
    generate: float
    cached_tokens: int = 0


class Engine(Protocol):
    """A checkpoint that answers questions, one request at a time.

    - `prepare` chooses device and precision and loads the libraries.
    - `free_memory` then returns the free bytes of the device.
    - `open` loads the checkpoint, after `prepare` if that was not called.
    - `stream` yields the reply's text as it is generated, in whole characters.
    - `stats` then describes that reply, even one cut short.
    - `close` frees everything and may be called twice.

    `device` and `dtype` are the values in use, known after `prepare`; `warnings` are known after `open`.
    """

    name: str
    device: str
    dtype: str
    quant: str | None
    warnings: tuple[str, ...]
    stats: StreamStats | None

    def prepare(self) -> None: ...

    def free_memory(self) -> int: ...

    def open(self) -> None: ...

    def stream(self, request: Request) -> Iterator[str]: ...

    def close(self) -> None: ...
