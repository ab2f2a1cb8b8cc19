"""Attention over prompts and the completions side by side behind them, without computing what a mask would discard.

Registered with transformers as an attention of its own; what it is not made for goes to sdpa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vtcli.train.growing import Growing

if TYPE_CHECKING:
    from torch import Tensor

NAME = "vt_shared"


@dataclass(frozen=True)
class Branches:
    """Stands where transformers expects a mask. A row each: tokens of its prompt, and of each completion after it."""

    rows: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Sequence[int]]]) -> Branches:
        """From (prompt, completions) lengths."""
        return cls(tuple((prompt, tuple(lengths)) for prompt, lengths in rows))


def use_shared(model: Any) -> None:
    """Has the text model of `model` take `Branches` or `Growing` for a mask."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.model.language_model.config._attn_implementation = NAME


@contextmanager
def shared_attention(model: Any) -> Iterator[None]:
    """`use_shared` for a while."""
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
    """transformers' attention function: query (B, heads, L, size) to (B, L, heads, size)."""
    if isinstance(attention_mask, Growing):
        return attention_mask.attend(module.layer_idx, query, key, value), None
    if not isinstance(attention_mask, Branches):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    import torch

    copies, scaling = query.shape[1] // key.shape[1], named.get("scaling")
    key, value = (states.repeat_interleave(copies, dim=1) for states in (key, value))
    rows = [
        _row(query[i : i + 1], key[i : i + 1], value[i : i + 1], prompt, lengths, scaling)
        for i, (prompt, lengths) in enumerate(attention_mask.rows)
    ]
    return torch.cat(rows).transpose(1, 2), None


def _row(
    query: Tensor, key: Tensor, value: Tensor, prompt: int, lengths: Sequence[int], scaling: float | None
) -> Tensor:
    """One row, (1, heads, L, size); what stands beyond its last completion becomes zero."""
    import torch

    longest, device = max(lengths), query.device
    begins = torch.tensor([prompt + sum(lengths[:i]) for i in range(len(lengths))], device=device)
    places = begins[:, None] + torch.arange(longest, device=device)  # (G, C)
    there = torch.arange(longest, device=device)[None] < torch.tensor(lengths, device=device)[:, None]
    within = places.clamp(max=query.shape[2] - 1)

    def branches(states: Tensor) -> Tensor:
        return states[0][:, within].transpose(0, 1)  # (G, heads, C, size)

    first = _attention(query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt], None, scaling)
    ahead = [states[:, :, :prompt].expand(len(lengths), -1, -1, -1) for states in (key, value)]
    keys, values = (torch.cat([old, branches(new)], 2) for old, new in zip(ahead, (key, value), strict=True))
    earlier = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    seen = torch.cat([earlier.new_ones(longest, prompt), earlier], 1)
    after = _attention(branches(query), keys, values, seen, scaling)
    own = after.transpose(1, 2)[there].transpose(0, 1)[None]  # (1, heads, all completions, size)
    beyond = query.shape[2] - prompt - own.shape[2]
    return torch.cat([first, own, own.new_zeros(1, own.shape[1], beyond, own.shape[3])], 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scaling: float | None) -> Tensor:
    """torch's attention; `seen` (L, S) is what each query may see, None: those before it and itself.

    In bfloat16 on a CPU plain products beat torch's kernel, backwards too; in float32 they do not.
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
