"""Generate one reply with any engine: sample tokens, verify guesses, stop, and emit whole characters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vtcli.engines.base import SamplingOptions
from vtcli.engines.lookup import Lookup
from vtcli.engines.sampling import Sampler
from vtcli.models.detokenizer import Detokenizer

Logits = NDArray[np.float32]
Finish = Literal["stop", "length", "interrupted"]


class Steps(Protocol):
    """A text model that has read a prompt."""

    def run(self, tokens: Sequence[int]) -> Logits:
        """Reads `tokens` in order; returns logits (tokens, vocabulary) of the token after each."""

    def drop(self, count: int) -> None:
        """Forgets the last `count` tokens read."""


class Reply:
    """The text of one reply, piece by piece. `finish` and `tokens`, the number sampled, are valid at any moment.

    first: logits (vocabulary,) of the first token. ends: ids that end the reply; the end token is counted, as in vLLM.
    lookup: None if reading several tokens at once takes as long as reading them one by one.
    """

    def __init__(
        self,
        first: Logits,
        steps: Steps,
        options: SamplingOptions,
        ends: Collection[int],
        text: Detokenizer,
        lookup: Lookup | None = None,
    ) -> None:
        self.finish: Finish = "interrupted"
        self.tokens = 0
        self._first = first
        self._steps = steps
        self._options = options
        self._ends = ends
        self._text = text
        self._lookup = lookup

    def __iter__(self) -> Iterator[str]:
        for token in self._draw():
            self.tokens += 1
            if token in self._ends:
                self.finish = "stop"
                break
            if piece := self._text.push(token):
                yield piece
            if self.tokens >= self._options.max_tokens:
                self.finish = "length"
                break
        if piece := self._text.flush():
            yield piece

    def _draw(self) -> Iterator[int]:
        """Yields tokens endlessly. Each is sampled from its own logits in turn, so guessing changes none of them."""
        sample, lookup = Sampler(self._options), self._lookup
        token = sample(self._first)
        yield token
        while True:
            guess: Sequence[int] = ()
            if lookup:
                lookup.push(token)
                guess = lookup.guess()[: self._options.max_tokens - self.tokens]
            rows = self._steps.run([token, *guess])
            held = 0
            for row in rows:
                token = sample(row)
                yield token
                if held == len(guess) or token != guess[held]:
                    break
                if lookup:
                    lookup.push(token)
                held += 1
            self._steps.drop(len(guess) - held)
