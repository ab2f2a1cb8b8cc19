"""Attention over a prompt and the completions side by side after it, without computing what a mask would discard.

Registered with transformers as an attention of its own; passes everything else to sdpa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcli.train.growing import Growing

if TYPE_CHECKING:
    from torch import Tensor

NAME = "vt_shared"


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the completions of a row stand, and what they may attend to, as a batch padded to the longest one.

    into (G * longest,): indices that cut a row's completions into the batch. back (all completions' tokens,): indices
    that join them again. seen (longest, prompt + longest): what each token may attend to.
    """

    into: Tensor
    back: Tensor
    seen: Tensor


class _Known:
    """Caches the places of rows, which are the same in every layer."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, Any], _Places] = {}


@dataclass(frozen=True)
class Branches:
    """Takes the place of the mask that transformers expects.

    rows: for each row the tokens of its prompt, and of each completion after it.
    """

    rows: tuple[tuple[int, tuple[int, ...]], ...]
    _known: _Known = field(default_factory=_Known, compare=False, repr=False)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Sequence[int]]]) -> Branches:
        """Makes `Branches` from (prompt, completions) lengths."""
        return cls(tuple((prompt, tuple(lengths)) for prompt, lengths in rows))

    def places(self, row: int, device: Any) -> _Places:
        """Returns the places of one row, computed once, so that not every layer waits for the device."""
        found = self._known.places.get((row, device))
        if found is None:
            found = self._known.places[row, device] = _places(*self.rows[row], device)
        return found


def _places(prompt: int, lengths: Sequence[int], device: Any) -> _Places:
    import torch

    longest, begins = max(lengths), np.cumsum([prompt, *lengths[:-1]])
    into = (begins[:, None] + np.arange(longest)).clip(max=prompt + sum(lengths) - 1)
    back = np.flatnonzero(np.arange(longest) < np.array(lengths)[:, None])
    seen = np.concatenate([np.ones((longest, prompt), bool), np.tri(longest, dtype=bool)], 1)
    return _Places(*(torch.from_numpy(each).to(device) for each in (into.reshape(-1), back, seen)))


def use_shared(model: Any) -> None:
    """Makes the text model of `model` take `Branches` or `Growing` as its mask."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.model.language_model.config._attn_implementation = NAME


@contextmanager
def shared_attention(model: Any) -> Iterator[None]:
    """Applies `use_shared` inside the context."""
    config = model.model.language_model.config
    before = config._attn_implementation
    use_shared(model)
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **named: Any
) -> tuple[Tensor, Any]:
    """transformers' attention function: maps query (B, heads, L, size) to (B, L, heads, size)."""
    if isinstance(attention_mask, Growing):
        return attention_mask.attend(module.layer_idx, query, key, value), None
    if not isinstance(attention_mask, Branches):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    import torch

    copies, scaling = query.shape[1] // key.shape[1], named.get("scaling")
    key, value = (states.repeat_interleave(copies, dim=1) for states in (key, value))
    rows = [
        _row(query[i : i + 1], key[i : i + 1], value[i : i + 1], attention_mask, i, scaling)
        for i in range(len(attention_mask.rows))
    ]
    return torch.cat(rows).transpose(1, 2), None


def _row(query: Tensor, key: Tensor, value: Tensor, mask: Branches, number: int, scaling: float | None) -> Tensor:
    """Attends in one row, (1, heads, L, size); what is beyond its last completion becomes zero."""
    import torch

    (prompt, lengths), places = mask.rows[number], mask.places(number, query.device)
    _, heads, tokens, size = query.shape

    def branches(states: Tensor) -> Tensor:
        return states[0].index_select(1, places.into).view(heads, len(lengths), -1, size).transpose(0, 1)

    first = _attention(query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt], None, scaling)
    ahead = [states[:, :, :prompt].expand(len(lengths), -1, -1, -1) for states in (key, value)]
    keys, values = (torch.cat([old, branches(new)], 2) for old, new in zip(ahead, (key, value), strict=True))
    after = _attention(branches(query), keys, values, places.seen, scaling)  # (G, heads, longest, size)
    own = after.transpose(0, 1).reshape(heads, -1, size).index_select(1, places.back)[None]
    beyond = tokens - prompt - own.shape[2]
    return torch.cat([first, own, own.new_zeros(1, heads, beyond, size)], 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scaling: float | None) -> Tensor:
    """torch's attention; `seen` (L, S) is what each query may attend to, None for causal attention.

    In bfloat16 on a CPU, plain matrix products are faster than torch's kernel, also in the backward pass; in float32
    they are not.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if value.device.type != "cpu" or value.dtype != torch.bfloat16:
        return scaled_dot_product_attention(query, key, value, seen, is_causal=seen is None, scale=scaling)
    if seen is None:
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    scores = (query * (scaling or query.shape[3] ** -0.5)) @ key.transpose(2, 3)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1, dtype=torch.float32)
    attended: Tensor = weights.to(value.dtype) @ value
    return attended
