"""Logits → the next token: temperature, then top-p, as vLLM and transformers do it. Pure numpy, for every engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vtcli.engines.base import SamplingOptions

_NEGLIGIBLE = 40.0
"""Logits this far below the best, after division by the temperature, add nothing to a float32 sum."""


class Sampler:
    """Draws the tokens of one reply. The same seed and logits give the same tokens on every device."""

    def __init__(self, options: SamplingOptions) -> None:
        self._options = options
        self._dice = np.random.default_rng(options.seed)

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Draws the next token's id from logits (vocabulary,)."""
        options, best = self._options, int(logits.argmax())
        if options.greedy:
            return best
        scaled = (logits - logits[best]) / np.float32(options.temperature)
        near = np.flatnonzero(scaled > -_NEGLIGIBLE)
        weights = np.exp(scaled[near].astype(np.float64))
        if 1 / weights.sum() >= options.top_p:  # only the best token is within top_p
            return best
        order = np.argsort(-weights, kind="stable")
        descending = weights[order] / weights.sum()
        # A token is kept while the tokens above it have a total probability below top_p.
        kept = descending[np.cumsum(descending) - descending < options.top_p]
        return int(near[order[self._dice.choice(len(kept), p=kept / kept.sum())]])
