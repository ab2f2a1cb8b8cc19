"""The interface every engine meets at: open, stream, close; and what goes in and comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vtcli.errors import UsageError
from vtcli.layout import Layout

#: Below this a temperature means greedy decoding, as in vLLM: dividing by it would overflow.
GREEDY_TEMPERATURE = 1e-5


#: Room is made for a multiple of so many tokens.
ROUNDED = 512
Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen; the defaults are the paper's. `seed` None draws a fresh one for every request."""

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
        """Whether the most likely token is always taken."""
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
        """Tokens an engine makes room for: the prompt's, the reply's, and some for a longer question after this one."""
        tokens = int(self.layout.input_ids.size) + self.sampling.max_tokens
        return -(-tokens // ROUNDED) * ROUNDED

    @property
    def grid(self) -> tuple[int, int, int]:
        """(T, H, W) of the clip in patches."""
        return self.layout.grid


@dataclass(frozen=True)
class StreamStats:
    """What became of a request. Seconds; `completion_tokens` counts the token that ended the reply, as vLLM does."""

    finish: Literal["stop", "length", "interrupted"]
    completion_tokens: int
    encode: float
    prefill: float
    generate: float
    cached_tokens: int = 0


class Engine(Protocol):
    """A checkpoint that can be asked. One request at a time.

    `prepare` decides on device and precision and loads the libraries; `free_memory` then says how many bytes the device
    has free; `open` loads the checkpoint (and prepares first where that was not done); `stream` yields the reply's text
    as it is generated, whole characters only; `stats` then describes that reply (also one cut short); `close` frees
    everything and may be called twice.
    `device` and `dtype` are what is really used, known once prepared; `warnings` once open.
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
