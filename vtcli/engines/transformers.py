"""The reference engine: the checkpoint at full precision through transformers, with its own generation loop.

The loop is ours for two reasons. Positions: `generate` and `forward` continue M-RoPE positions differently and
change between releases, so every call here passes them explicitly. Speed: `generate` does much per token that one
greedy or top-p reply does not need.

Only what the paper's evaluation sets is applied: temperature and top-p. The repetition penalty and top-k that some
checkpoints carry in generation_config.json are not, and control tokens such as `<|video_pad|>` are not suppressed,
because vLLM's SamplingParams(temperature, top_p, max_tokens) did neither.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from vtcli.engines.base import Request, StreamStats
from vtcli.engines.device import VALUE_BYTES, Placement, place
from vtcli.engines.loading import import_model_code, load_model, memory_errors, require_libraries
from vtcli.engines.room import free_memory
from vtcli.engines.sampling import Sampler
from vtcli.errors import EngineError
from vtcli.memory import Clip, advice, memory_by_part
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

#: Below this many parameters one thread is faster on a CPU than several, and many times so on a busy machine.
_ONE_THREAD = 20_000_000


class TransformersEngine:
    """One checkpoint of the Qwen2.5-VL family on one device. See `engines.base.Engine`.

    `tokenizer` is the checkpoint's; `device` one of auto, cuda, mps, cpu.
    """

    name = "transformers"
    quant: str | None = None

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, device: str = "auto") -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._model: Any = None
        self.device = device
        self.dtype = ""
        self.warnings: tuple[str, ...] = ()
        self.stats: StreamStats | None = None

    def prepare(self) -> None:
        """Imports the libraries and chooses device and dtype. Raises EngineError (libraries, device)."""
        if self.dtype:
            return
        require_libraries()
        placement = place(self.device, self._checkpoint.weights.parameters)
        import_model_code()
        self.device, self.dtype = placement.device, placement.dtype

    def free_memory(self) -> int:
        """Bytes the chosen device has free now."""
        return free_memory(self.device)

    def open(self) -> None:
        """Loads the weights. Raises EngineError (libraries, device, memory), ModelError (files)."""
        if self._model is not None:
            return
        self.prepare()
        model, warnings = load_model(self._checkpoint, Placement(self.device, self.dtype))
        self._model, self.warnings = model, tuple(warnings)

    def close(self) -> None:
        """Frees the model and its memory on the device."""
        if self._model is None:
            return
        self._model = None
        if self.device == "cuda":
            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def stream(self, request: Request) -> Iterator[str]:
        """The reply, piece by piece. Leaving early (Ctrl-C, closing the iterator) ends it as "interrupted"."""
        if self._model is None:
            raise EngineError("the engine is not open")
        self.stats = None
        self._check(request)
        import torch
        from transformers import DynamicCache

        layout, options = request.layout, request.sampling
        text = self._tokenizer.detokenizer()
        sample, cache = Sampler(options), DynamicCache()
        finish: Literal["stop", "length", "interrupted"] = "interrupted"
        count, encoded, filled, started = 0, 0.0, 0.0, perf_counter()
        threads = torch.get_num_threads()
        if self.device == "cpu" and self._checkpoint.weights.parameters <= _ONE_THREAD:
            torch.set_num_threads(1)
        try:
            with memory_errors(self.device, lambda: self._remedy(request)):
                video = self._encode(request)
                encoded = perf_counter()
                token = sample(self._prefill(request, video, cache))
                filled = perf_counter()
            while True:
                count += 1
                if token in self._checkpoint.eos_token_ids:
                    finish = "stop"
                    break
                if piece := text.push(token):
                    yield piece
                if count >= options.max_tokens:
                    finish = "length"
                    break
                with memory_errors(self.device, lambda: self._remedy(request)):
                    index, position = layout.input_ids.size + count - 1, layout.next_position + count - 1
                    token = sample(self._step(token, index, position, cache))
            if piece := text.flush():
                yield piece
        finally:
            torch.set_num_threads(threads)
            now = perf_counter()
            encoded, filled = encoded or now, filled or now
            self.stats = StreamStats(finish, count, encoded - started, filled - encoded, now - filled)

    def _remedy(self, request: Request) -> str:
        """What would fit where the clip's share of the memory had to be halved."""
        checkpoint, layout = self._checkpoint, request.layout
        text = layout.input_ids.size - layout.video_tokens + request.sampling.max_tokens
        (t, h, w), side = layout.grid, checkpoint.patch_size
        clip = Clip(t * checkpoint.temporal_patch_size, h * side, w * side, text)
        value_bytes = VALUE_BYTES[self.dtype]
        parts = memory_by_part(checkpoint, clip, value_bytes)
        return advice(checkpoint, clip, value_bytes, self.device, (parts["total"] + parts["weights"]) // 2)

    def _check(self, request: Request) -> None:
        layout = request.layout
        rows, largest = self._model.get_input_embeddings().num_embeddings, int(layout.input_ids.max())
        if largest >= rows:
            raise EngineError(f"the tokenizer's id {largest} is beyond the model's {rows} embeddings")
        t, h, w = layout.grid
        if len(request.patches) != t * h * w:
            raise EngineError(f"{len(request.patches)} patches do not fill the grid {layout.grid}")

    def _encode(self, request: Request) -> Tensor:
        """The clip's embeddings (video_tokens, hidden)."""
        import torch

        with torch.inference_mode():
            visual = self._model.model.visual
            patches = torch.from_numpy(request.patches).to(self.device, visual.dtype)
            output = visual(patches, grid_thw=torch.tensor([request.grid], device=self.device))
            video: Tensor = getattr(output, "pooler_output", output)  # transformers 4 gives the tensor itself
            if self.device != "cpu":
                getattr(torch, self.device).synchronize()  # so that the time measured is that of the work
            return video

    def _prefill(self, request: Request, video: Tensor, cache: Any) -> Tensor:
        """Runs the whole prompt; logits (vocabulary,) of the first new token."""
        import torch

        with torch.inference_mode():
            ids = torch.from_numpy(request.layout.input_ids).to(self.device)
            embeddings = self._model.get_input_embeddings()(ids)
            embeddings[ids == self._checkpoint.video_token_id] = video.to(embeddings.dtype)
            positions = torch.from_numpy(request.layout.positions).to(self.device)
            # Row 0 is the plain index, which the attention mask is made from; the other three are M-RoPE.
            rows = torch.cat([torch.arange(len(ids), device=self.device)[None], positions])
            logits = self._forward(embeddings[None], rows[:, None], cache)
            if not bool(torch.isfinite(logits).all()):
                raise EngineError(f"the model computes no numbers in {self.dtype} on {self.device}: try --device cpu")
            return logits

    def _step(self, token: int, index: int, position: int, cache: Any) -> Tensor:
        """Runs one generated token, the `index`-th of the sequence; logits (vocabulary,) of the next."""
        import torch

        with torch.inference_mode():
            embeddings = self._model.get_input_embeddings()(torch.tensor([[token]], device=self.device))
            rows = torch.tensor([[[index]], [[position]], [[position]], [[position]]], device=self.device)
            return self._forward(embeddings, rows, cache)

    def _forward(self, embeddings: Tensor, positions: Tensor, cache: Any) -> Tensor:
        hidden = self._model.model.language_model(
            inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        logits: Tensor = self._model.lm_head(hidden[0, -1]).float()
        return logits
