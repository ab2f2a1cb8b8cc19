"""Draws completions of prompts with videos; each prompt is encoded and prefilled once for all its completions.

Positions and suppressed tokens are vt's own (see `vtcli.engines.transformers`). A draw depends on the random numbers
given for it and on nothing else, so that completions are the same however prompts are spread over steps and devices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vtcli.engines.captured import capture
from vtcli.engines.decoder import cache_name, masks
from vtcli.engines.vision import see
from vtcli.train.encode import Encoded
from vtcli.train.growing import Growing
from vtcli.train.shared import shared_attention

if TYPE_CHECKING:
    from torch import Tensor

DROP, DROP_CAPTURED = 0.75, 0.5
"""Completions that have ended are dropped when no more than this share is still growing.

Each drop copies all keys, and captured steps have to be captured again.
"""


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn.

    ends: ids that end a completion. forbidden: ids that are never drawn. temperature: 0 is greedy. captured: every step
    has the same shapes, however long completions are, so that on CUDA its kernels are launched as one.
    """

    max_tokens: int
    ends: Collection[int]
    forbidden: Collection[int]
    temperature: float = 1.0
    top_p: float = 1.0
    captured: bool = False


def dice(copies: int, max_tokens: int, *seed: int) -> npt.NDArray[np.float64]:
    """Returns random numbers (copies, max_tokens) in [0, 1), by which the completions of one prompt are drawn."""
    return np.random.default_rng(seed).random((copies, max_tokens))


def roll_out(
    model: Any,
    prompts: Sequence[Encoded],
    copies: int,
    drawing: Drawing,
    numbers: npt.NDArray[np.float64] | None = None,
    precision: AbstractContextManager[Any] | None = None,
) -> list[list[int]]:
    """Draws `copies` completions of each prompt, as ids with the one that ended them; those of a prompt are adjacent.

    `numbers` (prompts · copies, max_tokens) comes from `dice`; None only if drawing is greedy. `model` is the
    transformers model itself, and is left in the mode it was in.
    """
    with answering(model, precision):
        return _Rollout(model, prompts, copies, drawing, numbers).run()


@contextmanager
def answering(model: Any, precision: AbstractContextManager[Any] | None = None) -> Iterator[None]:
    """Evaluates `model` inside the context, without gradients and with attention from `shared_attention`.

    Leaves it in the mode it was in.
    """
    import torch

    training = model.training
    model.eval()  # in training mode, gradient checkpointing turns the KV cache off
    try:
        with torch.no_grad(), shared_attention(model), precision or nullcontext():
            yield
    finally:
        model.train(training)


class _Rollout:
    def __init__(
        self,
        model: Any,
        prompts: Sequence[Encoded],
        copies: int,
        drawing: Drawing,
        numbers: npt.NDArray[np.float64] | None,
    ) -> None:
        import torch

        self.model, self.prompts, self.copies, self.drawing = model, prompts, copies, drawing
        self.device = model.get_input_embeddings().weight.device
        self.cache_name = cache_name(model.model.language_model)
        self.numbers = None if numbers is None else torch.from_numpy(numbers).to(self.device, torch.float32)
        lengths = [prompt.ids.size for prompt in prompts]
        self.cache = Growing(lengths, copies, drawing.max_tokens, self.device)
        self.ends = torch.tensor(sorted(drawing.ends), device=self.device)
        self.forbidden = torch.tensor(sorted(drawing.forbidden), dtype=torch.long, device=self.device)
        starts = [prompt.next_position for prompt in prompts for _ in range(copies)]
        self.position = torch.tensor(starts, device=self.device)
        self.replay: Callable[[], None] | None = None
        if drawing.captured:
            self.cache.index = torch.zeros(1, dtype=torch.long, device=self.device)

    def run(self) -> list[list[int]]:
        import torch

        rows, drop = len(self.prompts) * self.copies, DROP_CAPTURED if self.drawing.captured else DROP
        drawn = torch.zeros(rows, self.drawing.max_tokens, dtype=torch.long, device=self.device)
        lengths = torch.zeros(rows, dtype=torch.long, device=self.device)
        kept = torch.arange(rows, device=self.device)
        going = torch.ones(rows, dtype=torch.bool, device=self.device)
        logits = torch.cat([self._read(i) for i in range(len(self.prompts))])
        for step in range(self.drawing.max_tokens):
            tokens = self._draw(logits, kept, step)
            drawn[kept, step] = tokens
            lengths[kept] += going
            going &= ~torch.isin(tokens, self.ends)
            left = int(going.sum())
            if not left or step + 1 == self.drawing.max_tokens:
                break
            if left <= drop * len(going):  # rows that have ended leave the batch and the KV cache
                kept, tokens, self.position = kept[going], tokens[going], self.position[going]
                self.cache.keep(going)
                self.replay = None
                going = going[going]
            logits = self._step(tokens, step)
        return [row[:length].tolist() for row, length in zip(drawn.cpu(), lengths.tolist(), strict=True)]

    def _read(self, number: int) -> Tensor:
        """Prefills a prompt; returns the logits (copies, vocabulary) of its next token."""
        import torch

        prompt = self.prompts[number]
        ids = torch.from_numpy(prompt.ids).to(self.device)
        embeddings = self.model.get_input_embeddings()(ids)
        if len(prompt.grids):
            video = see(self.model.model.visual, prompt.patches, prompt.grids).to(embeddings)
            embeddings = embeddings.masked_scatter((ids == prompt.token_id)[:, None], video)
        self.cache.prompt = number
        hidden = self._text(embeddings[None], torch.from_numpy(prompt.positions).to(self.device)[:, None], None)
        self.cache.prompt = None
        logits: Tensor = self.model.lm_head(hidden[:, -1])
        return logits.expand(self.copies, -1)

    def _step(self, tokens: Tensor, step: int) -> Tensor:
        """Reads one token per row; returns logits (rows, vocabulary)."""
        self.cache.length = step
        if self.cache.index is None:
            return self._next(tokens, step)
        self.cache.index.fill_(step)
        if self.replay is None:
            self.tokens = tokens.clone()
            self.replay = capture(self._again, self.device, "--set grpo.captured=false")
        self.tokens.copy_(tokens)
        self.replay()
        return self.logits

    def _again(self) -> None:
        """Runs the step on tensors that stay in place, as captured steps require."""
        assert self.cache.index is not None
        self.logits = self._next(self.tokens, self.cache.index)

    def _next(self, tokens: Tensor, step: int | Tensor) -> Tensor:
        embeddings = self.model.get_input_embeddings()(tokens)[:, None]
        positions = (self.position + step)[None, :, None].expand(3, -1, -1)
        hidden = self._text(embeddings, positions, self.cache)
        logits: Tensor = self.model.lm_head(hidden[:, -1])
        return logits

    def _text(self, embeddings: Tensor, positions: Tensor, mask: Growing | None) -> Tensor:
        hidden: Tensor = self.model.model.language_model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=masks(mask),
            **{self.cache_name: self.cache},
            use_cache=True,
        ).last_hidden_state
        return hidden

    def _draw(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """Draws the next token of each of `rows` (rows,)."""
        import torch

        logits = logits.float().index_fill(1, self.forbidden, float("-inf"))
        if self.drawing.temperature == 0:
            return logits.argmax(-1)
        assert self.numbers is not None
        shares = (logits / self.drawing.temperature).softmax(-1)
        order = None
        if self.drawing.top_p < 1:
            shares, order = shares.sort(descending=True)
            # A token stays while the more likely ones sum to less than top_p; the first always stays.
            shares = shares.where(shares.cumsum(-1) - shares < self.drawing.top_p, 0)
        sums = shares.cumsum(-1)
        whole = sums[:, -1:]
        target = (self.numbers[rows, step, None] * whole).minimum(whole.nextafter(torch.zeros_like(whole)))
        place = (sums <= target).sum(-1)  # the first whose sum exceeds the target, so its share is not zero
        return place if order is None else order.gather(1, place[:, None])[:, 0]
