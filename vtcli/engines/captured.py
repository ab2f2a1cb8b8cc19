"""A decoder whose decode steps have fixed shapes, so that they can be captured (CUDA graphs) and compiled.

Launching the thousand kernels of a step takes the CPU longer than the GPU needs to run them; a captured step is one
launch. Compilation fuses the many small kernels between the matrix products into few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vtcli.engines.decoder import Decoder, masks
from vtcli.engines.keyvalues import KeyValues
from vtcli.engines.loading import out_of_memory
from vtcli.engines.reply import Logits
from vtcli.errors import EngineError, first_line

if TYPE_CHECKING:
    from torch import Tensor

PART = 128
"""Tokens of a key-value head whose weighted values one multiprocessor sums."""
_GROUPED = "vt_grouped"


class CapturedDecoder(Decoder):
    """A decoder whose `run` takes one token at a time: on CUDA as a captured step, elsewhere as a plain one.

    With `compiled`, torch.compile compiles the step. Every step attends to the whole capacity, a multiple of `PART`,
    and masks the places not yet written.
    """

    ahead = 0

    def __init__(self, model: Any, capacity: int, compiled: bool) -> None:
        super().__init__(model, capacity)
        import torch

        self.cache = KeyValues(-(-capacity // PART) * PART)
        self._config = model.config.text_config
        self._compiled = compiled
        self._token, self._index, self._position = (
            torch.zeros(1, dtype=torch.long, device=self.device) for _ in range(3)
        )
        self._logits: Tensor | None = None
        self._step: Callable[[], None] | None = None
        _register()

    def run(self, tokens: Sequence[int]) -> Logits:
        """Reads the one token in `tokens` at the next position; returns logits (1, vocabulary) of the next token."""
        import torch

        (token,) = tokens
        with torch.inference_mode(), self._fixed_shapes():
            for tensor, value in zip((self._token, self._index, self._position), self._where(token), strict=True):
                tensor.fill_(value)
            self._step = self._step or self._capture()
            self._step()
            self.cache.length += 1
            assert self._logits is not None
            logits: Logits = self._logits.cpu().numpy()
            return logits[None]

    def _where(self, token: int) -> tuple[int, int, int]:
        return token, self.cache.length, self.cache.length + self._offset

    def _work(self) -> None:
        import torch

        beyond = torch.arange(self.cache.capacity, device=self.device) > self._index
        mask = torch.zeros(beyond.shape, device=self.device).masked_fill(beyond, -torch.inf)
        hidden = self._text(
            inputs_embeds=self._embed(self._token)[None],
            position_ids=self._position.expand(3, 1, 1),
            attention_mask=masks(mask),
            **{self._cache_name: self.cache},
            use_cache=True,
        ).last_hidden_state
        self._logits = self._head(hidden[0, -1]).float()

    def _capture(self) -> Callable[[], None]:
        work = self._compile() if self._compiled else self._work
        return capture(work, self.device, "use --compile off")

    def _compile(self) -> Callable[[], None]:
        """Returns the compiled step after a first run, which compiles it. Raises EngineError if compilation fails."""
        import torch

        work: Callable[[], None] = torch.compile(self._work, dynamic=False)
        try:
            work()
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise EngineError(f"steps cannot be compiled here ({first_line(error)}): use --compile off") from error
            raise
        return work

    @contextmanager
    def _fixed_shapes(self) -> Iterator[None]:
        norms, usual = type(self._text.norm), self._config._attn_implementation
        whole = norms.forward
        norms.forward = norm
        self._config._attn_implementation, self.cache.index = _GROUPED, self._index
        try:
            yield
        finally:
            self._config._attn_implementation, self.cache.index = usual, None
            norms.forward = whole


def capture(work: Callable[[], None], device: Any, remedy: str) -> Callable[[], None]:
    """Returns a callable that launches `work`'s kernels as one CUDA graph; without CUDA, returns `work` itself.

    `work` must read and write the same tensors every time, and running it twice must do no harm: on CUDA it has already
    run when this function returns. Raises EngineError, with a message that ends in `remedy`, if CUDA refuses.
    """
    import torch

    if device.type != "cuda":
        return work
    try:
        beside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        graph = torch.cuda.CUDAGraph()
    except RuntimeError as error:
        raise _refused(error, remedy) from error
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(2):  # warm-up: libraries initialise, and torch.compile compiles
            work()
    torch.cuda.current_stream().wait_stream(beside)
    try:
        with torch.cuda.graph(graph, stream=beside):  # the same stream: reuses the workspace of the warm-up runs
            work()
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise _refused(error, remedy) from error
    replay: Callable[[], None] = graph.replay
    return replay


def _refused(error: RuntimeError, remedy: str) -> EngineError:
    cause = error.__context__ or error  # the error at the end of a failed capture names no cause
    return EngineError(f"steps cannot be captured on this GPU ({first_line(cause)}): {remedy}")


def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(_GROUPED, grouped_attention)


def norm(module: Any, hidden: Tensor) -> Tensor:
    """Computes transformers' RMS norm in one kernel instead of seven."""
    from torch.nn.functional import rms_norm

    return rms_norm(hidden, module.weight.shape, module.weight, module.variance_epsilon)


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention of one token; query heads that share a key head are treated as several queries of one head.

    query (1, heads, 1, size), key and value (1, key-value heads, capacity, size), additive attention_mask (capacity,)
    in float32; returns (1, 1, heads, size). torch's kernels assign each key head to one of a GPU's hundred
    multiprocessors, which processes all keys alone. Here the values are split into parts of `PART` tokens, summed at
    the end. Scores are computed in float32, as in torch's kernels.
    """
    import torch

    heads, capacity, size = key.shape[1:]
    together = query.reshape(heads, -1, size).float() * scaling  # (key-value heads, query heads of each, size)
    scores = together @ key[0].float().transpose(1, 2) + attention_mask
    weights = scores.softmax(-1).to(value.dtype)
    count = capacity // PART
    in_parts = weights.view(heads, -1, count, PART).transpose(1, 2) @ value[0].view(heads, count, PART, size)
    seen = in_parts.sum(1, dtype=torch.float32).to(value.dtype)
    return seen.view(1, 1, -1, size), None
