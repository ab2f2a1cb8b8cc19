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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import vtcli
from vtcli.cores import ONE_THREAD
from vtcli.engines.base import Compile, Request, StreamStats
from vtcli.engines.captured import CapturedDecoder
from vtcli.engines.decoder import Decoder
from vtcli.engines.device import VALUE_BYTES, Placement, place
from vtcli.engines.loading import import_model_code, load_model, memory_errors, require_libraries
from vtcli.engines.lookup import Lookup
from vtcli.engines.prefix import Prefix, PrefixStore, Recall
from vtcli.engines.reply import Logits, Reply
from vtcli.engines.room import free_memory
from vtcli.errors import EngineError
from vtcli.memory import Clip, advice, memory_by_part
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.fingerprint import fingerprint, last_changed
from vtcli.models.tokenizer import Tokenizer
from vtcli.video.patches import patchify

if TYPE_CHECKING:
    from torch import Tensor

_GUESSED = 4
"""Tokens read ahead where the text repeats itself."""


class TransformersEngine:
    """One checkpoint of the Qwen2.5-VL family on one device. See `engines.base.Engine`.

    `tokenizer` is the checkpoint's; `device` one of auto, cuda, mps, cpu; `compile` "on" compiles the steps, which
    takes a while, "auto" captures them on CUDA and "off" runs them as they come. `store` keeps what is
    computed of clips.
    """

    name = "transformers"
    quant: str | None = None

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        device: str = "auto",
        compile: Compile = "auto",
        store: PrefixStore | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._model: Any = None
        self._decoder: Decoder | None = None
        self._recall = Recall(store)
        self._computed: dict[str, str] | None = None
        self.compile = compile
        self.device = device
        self.dtype = ""
        self.warnings: tuple[str, ...] = ()
        self._opened_with: tuple[str, ...] = ()
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
        self._model, self.warnings, self._opened_with = model, tuple(warnings), tuple(warnings)

    def close(self) -> None:
        """Frees the model and its memory on the device."""
        if self._model is None:
            return
        self._model = self._decoder = None
        self._recall.forget()
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
        self.warnings = self._opened_with
        import torch

        reply: Reply | None = None
        encoded, filled, ended, cached, started = 0.0, 0.0, 0.0, 0, perf_counter()
        threads = torch.get_num_threads()
        if self.device == "cpu" and self._checkpoint.weights.parameters <= ONE_THREAD:
            torch.set_num_threads(1)
        try:
            with memory_errors(self.device, lambda: self._remedy(request)):
                decoder, prefix = self._decoder_for(request), self._prefix(request)
                if self._recall.find(prefix, decoder):
                    cached = prefix.tokens
                video = None if cached else self._encode(request)
                encoded = perf_counter()
                first = self._prefill(request, prefix, video, decoder)
                filled = perf_counter()
                reply = self._reply(request, first, decoder)
                yield from reply
            ended = perf_counter()
            self.warnings += self._recall.keep(prefix, decoder)
        finally:
            torch.set_num_threads(threads)
            now = ended or perf_counter()
            encoded, filled = encoded or now, filled or now
            finish, count = (reply.finish, reply.tokens) if reply else ("interrupted", 0)
            self.stats = StreamStats(finish, count, encoded - started, filled - encoded, now - filled, cached)

    def _reply(self, request: Request, first: Logits, decoder: Decoder) -> Reply:
        layout = request.layout
        text = layout.input_ids[layout.input_ids != self._checkpoint.video_token_id]
        lookup = None if isinstance(decoder, CapturedDecoder) else Lookup(_GUESSED, text.tolist())
        ends, characters = self._checkpoint.eos_token_ids, self._tokenizer.detokenizer()
        return Reply(first, decoder, request.sampling, ends, characters, lookup)

    def _decoder_for(self, request: Request) -> Decoder:
        """A decoder with room for `request`: the last one where it has."""
        if self._decoder is not None and self._decoder.cache.capacity >= request.capacity:
            return self._decoder
        self._decoder = None  # its memory is free before more is asked for
        self._recall.forget()
        alone = len(set(getattr(self._model, "hf_device_map", {}).values())) <= 1
        if self.compile == "on" or (self.compile == "auto" and self.device == "cuda" and alone):
            self._decoder = CapturedDecoder(self._model, request.capacity, compiled=self.compile == "on")
        else:
            self._decoder = Decoder(self._model, request.capacity)
        return self._decoder

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
        if self._checkpoint.grid(*request.pixels.shape[:3]) != layout.grid:
            raise EngineError(f"frames of the shape {request.pixels.shape} do not fill the grid {layout.grid}")

    def _patches(self, request: Request) -> NDArray[np.float32]:
        of = self._checkpoint
        sizes = of.patch_size, of.temporal_patch_size, of.merge_size
        return patchify(request.pixels, of.image_mean, of.image_std, *sizes)[0]

    def _encode(self, request: Request) -> Tensor:
        """The clip's embeddings (video_tokens, hidden)."""
        import torch

        with torch.inference_mode():
            visual = self._model.model.visual
            patches = torch.from_numpy(self._patches(request)).to(self.device, visual.dtype)
            output = visual(patches, grid_thw=torch.tensor([request.grid], device=self.device))
            video: Tensor = getattr(output, "pooler_output", output)  # transformers 4 gives the tensor itself
            if self.device != "cpu":
                getattr(torch, self.device).synchronize()  # so that the time measured is that of the work
            return video

    def _prefix(self, request: Request) -> Prefix:
        import torch
        import transformers

        if self._computed is None:
            self._computed = {
                "engine": self.name,
                "device": self.device,
                "dtype": self.dtype,
                "weights": f"{fingerprint(self._checkpoint)} {last_changed(self._checkpoint)}",
                "libraries": f"{vtcli.__version__} {torch.__version__} {transformers.__version__}",
            }
        return Prefix.of(request.layout, request.pixels, self._checkpoint.video_token_id, self._computed)

    def _prefill(self, request: Request, prefix: Prefix, video: Tensor | None, decoder: Decoder) -> Logits:
        """Runs the whole prompt, or with no `video` what follows the prefix; logits (vocabulary,) of the first token.

        In two parts in any case, so that a prefix that was kept gives the same reply to the last bit.
        """
        layout, rest = request.layout, slice(prefix.tokens, None)
        if video is not None:
            begun = slice(prefix.tokens)
            decoder.begin(self._embeddings(layout.input_ids[begun], video, decoder), layout.positions[:, begun])
        logits = decoder.prompt(decoder.embed(layout.input_ids[rest]), layout.positions[:, rest])
        if not np.isfinite(logits).all():
            certain = self.device == "cpu" or self.dtype == "float32"
            remedy = "its weights are damaged, get them again" if certain else "try --device cpu"
            raise EngineError(f"the model computes no numbers in {self.dtype} on {self.device}: {remedy}")
        return logits

    def _embeddings(self, ids: NDArray[np.int64], video: Tensor, decoder: Decoder) -> Tensor:
        """A prompt's tokens (tokens, hidden), the clip in its place."""
        import torch

        tokens = torch.from_numpy(ids).to(decoder.device)
        embeddings = decoder.embed(tokens)
        with torch.inference_mode():
            embeddings[tokens == self._checkpoint.video_token_id] = video.to(embeddings)
        return embeddings
