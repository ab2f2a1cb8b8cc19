"""Logits → the next token: temperature, then top-p, as vLLM and transformers do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtcli.engines.base import SamplingOptions

if TYPE_CHECKING:
    from torch import Tensor


class Sampler:
    """Draws the tokens of one reply. The same seed and logits give the same tokens on every device."""

    def __init__(self, options: SamplingOptions) -> None:
        import torch

        self._options = options
        self._generator = torch.Generator()  # on the CPU whatever the device, so that a seed means one thing
        if options.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(options.seed)

    def __call__(self, logits: Tensor) -> int:
        """The next token's id from logits float32 (vocabulary,)."""
        import torch

        options = self._options
        if options.greedy:
            return int(logits.argmax())
        probabilities = torch.softmax(logits / options.temperature, dim=-1)
        best, token = probabilities.max(dim=-1)
        if float(best) >= options.top_p:  # nothing but the best is left: spares sorting the vocabulary
            return int(token)
        descending, order = probabilities.sort(descending=True)
        # A token stays while those above it hold less than top_p.
        kept = descending[descending.cumsum(dim=-1) - descending < options.top_p]
        drawn = torch.multinomial(kept.cpu(), 1, generator=self._generator)
        return int(order[int(drawn)])
