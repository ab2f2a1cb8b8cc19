"""The text model of a checkpoint with its KV cache: prompt and tokens in, logits out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vtcli.engines.keyvalues import KeyValues, LastWrittenError, Shape
from vtcli.engines.lookup import GUESSED
from vtcli.engines.prefix import Prefix
from vtcli.engines.reply import Logits
from vtcli.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor


class Decoder:
    """One sequence of at most `capacity` tokens.

    Positions are passed for the prompt and count up from its end, because transformers releases continue them
    differently. Attention masks are built here, independent of how a release interprets the cache's length.
    """

    ahead = GUESSED

    def __init__(self, model: Any, capacity: int) -> None:
        self.cache = KeyValues(capacity)
        self._embed = model.get_input_embeddings()
        self._text = model.model.language_model
        self._head = model.lm_head
        self._cache_name = cache_name(self._text)
        self._offset = 0  # next position minus number of tokens read
        _check_window(model.config, capacity)

    @property
    def device(self) -> Any:
        """The device of the embedding, where tokens enter."""
        return self._embed.weight.device

    def embed(self, ids: Sequence[int] | Any) -> Tensor:
        """Returns embeddings (tokens, hidden) of token ids."""
        import torch

        with torch.inference_mode():
            rows: Tensor = self._embed(torch.as_tensor(ids, device=self.device))
            return rows

    def begin(self, embeddings: Tensor, positions: Any) -> None:
        """Prefills tokens by their embeddings (tokens, hidden) at `positions` (3, tokens); more tokens must follow.

        The last layer's output is not needed, so that layer computes only keys and values.
        """
        import torch

        self.cache.last = len(self._text.layers) - 1
        try:
            with torch.inference_mode(), suppress(LastWrittenError):
                self._forward(embeddings, torch.as_tensor(positions, device=self.device))
        finally:
            self.cache.last = None
        self.cache.length += len(embeddings)

    def prompt(self, embeddings: Tensor, positions: Any) -> Logits:
        """Prefills the rest of the prompt, arguments as in `begin`; returns logits (vocabulary,) of the next token."""
        import torch

        with torch.inference_mode():
            hidden = self._read(embeddings, torch.as_tensor(positions, device=self.device))
            self._offset = int(positions.max()) + 1 - self.cache.length
            return _numbers(self._head(hidden[-1]))

    def run(self, tokens: Sequence[int]) -> Logits:
        """Reads `tokens` at the next positions; returns logits (tokens, vocabulary) of the token after each."""
        import torch

        with torch.inference_mode():
            first = self.cache.length + self._offset
            where = torch.arange(first, first + len(tokens), device=self.device).expand(3, -1)
            return _numbers(self._head(self._read(self.embed(tokens), where)))

    def restart(self, prefix: Prefix | None = None) -> None:
        """Forgets everything, or everything after `prefix`, which must have been read; memory stays allocated."""
        self.cache.length = prefix.tokens if prefix else 0

    def save(self, prefix: Prefix) -> list[NDArray[np.uint8]]:
        """Returns the keys and values of `prefix`, as bytes."""
        return self.cache.save(prefix.tokens)

    def load(self, prefix: Prefix, data: NDArray[np.uint8]) -> bool:
        """Restores `prefix` from `data` of `save`, as if just read; returns whether the data fit this model."""
        import torch

        weights = [layer.self_attn.k_proj.weight for layer in self._text.layers]
        size = self._text.layers[0].self_attn.head_dim
        shapes = [Shape(weight.shape[0] // size, size, weight.dtype, weight.device) for weight in weights]
        with torch.inference_mode():
            return self.cache.load(data, prefix.tokens, shapes)

    def drop(self, count: int) -> None:
        """Forgets the last `count` tokens read."""
        self.cache.length -= count

    def _read(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Returns hidden states (tokens, hidden) of `embeddings` (tokens, hidden) at `positions` (3, tokens)."""
        hidden = self._forward(embeddings, positions)
        self.cache.length += len(embeddings)
        return hidden

    def _forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Computes `_read` without advancing the cache's length."""
        hidden: Tensor = self._text(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None],
            attention_mask=masks(self._mask(len(embeddings))),
            **{self._cache_name: self.cache},
            use_cache=True,
        ).last_hidden_state[0]
        return hidden

    def _mask(self, count: int) -> Tensor | None:
        """Returns the mask (1, 1, tokens, all) of the next `count` tokens; None where the kernels need no mask."""
        import torch

        before = self.cache.length
        if count == 1 or before == 0:
            return None
        return torch.ones(count, before + count, dtype=torch.bool, device=self.device).tril(before)[None, None]


def cache_name(text: Any) -> str:
    """Returns the name of the cache argument of a text model's forward, which transformers 5.24 renamed."""
    return "cache" if "cache" in inspect.signature(text.forward).parameters else "past_key_values"


def masks(mask: Any) -> dict[str, Any]:
    """Returns `mask` for every layer type; sliding windows are longer than any sequence here (`_check_window`)."""
    return {"full_attention": mask, "sliding_attention": mask}


def _check_window(config: Any, capacity: int) -> None:
    text = config.text_config
    window = text.sliding_window if "sliding_attention" in text.layer_types else None
    if window is not None and window < capacity:
        raise EngineError(
            f"the model looks back {window} tokens only, this question takes {capacity}: use fewer frames"
        )


def _numbers(logits: Tensor) -> Logits:
    numbers: Logits = logits.float().cpu().numpy()
    return numbers
