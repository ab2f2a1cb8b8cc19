"""The reference engine: the checkpoint at full precision through transformers, with its own generation loop.

vt has its own loop for two reasons. Positions: `generate` and `forward` continue M-RoPE positions differently, and
change between releases, so every call here passes them explicitly. Speed: `generate` does much work per token that a
greedy or top-p reply does not need.

Only the paper's evaluation settings are applied: temperature and top-p. The repetition penalty and top-k that some
checkpoints have in generation_config.json are ignored, and control tokens such as `<|video_pad|>` are not suppressed,
because vLLM's SamplingParams(temperature, top_p, max_tokens) did neither.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vtcli.cores import ONE_THREAD
from vtcli.engines.allocator import keep_freed_memory
from vtcli.engines.base import Compile, Request
from vtcli.engines.captured import CapturedDecoder
from vtcli.engines.decoder import Decoder
from vtcli.engines.device import VALUE_BYTES, Placement, place
from vtcli.engines.loading import import_model_code, load_model, memory_errors, require_libraries
from vtcli.engines.local import LocalEngine
from vtcli.engines.prefix import Prefix, PrefixStore
from vtcli.engines.reply import Logits
from vtcli.engines.room import free_memory
from vtcli.engines.vision import quicken, see
from vtcli.errors import EngineError
from vtcli.garbage import without_collection
from vtcli.memory import Clip, advice, memory_by_part
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.video.patches import patchify

if TYPE_CHECKING:
    from torch import Tensor


class TransformersEngine(LocalEngine[Decoder]):
    """One checkpoint of the Qwen2.5-VL family on one device. See `engines.base.Engine`.

    `tokenizer` is the checkpoint's. `device` is one of auto, cuda, mps, cpu. `compile` "on" compiles the decode steps,
    which takes a while; "auto" captures them on CUDA if the model is on one GPU; "off" does neither. `store` keeps
    computed video prefixes.
    """

    name = "transformers"

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        device: str = "auto",
        compile: Compile = "auto",
        store: PrefixStore | None = None,
    ) -> None:
        super().__init__(checkpoint, tokenizer, device, store)
        self._decoder: Decoder | None = None
        self.compile = compile

    def prepare(self) -> None:
        """Imports the libraries and chooses device and dtype. Raises EngineError (libraries, device)."""
        if self.dtype:
            return
        require_libraries()
        with without_collection():  # saves a fifth of the import time
            placement = place(self.device, self._checkpoint.weights.parameters)
            import_model_code()
        self.device, self.dtype = placement.device, placement.dtype

    def free_memory(self) -> int:
        """Returns the bytes free on the chosen device now."""
        return free_memory(self.device, self._checkpoint.weights.parameters * VALUE_BYTES[self.dtype])

    def open(self) -> None:
        """Loads the weights. Raises EngineError (libraries, device, memory), ModelError (files)."""
        if self._model is not None:
            return
        self.prepare()
        placement = Placement(self.device, self.dtype)
        model, warnings = self._loaded(lambda: load_model(self._checkpoint, placement))
        quicken(model.model.visual)
        if self.device == "cpu":
            keep_freed_memory()
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

    @contextmanager
    def _at_work(self, request: Request) -> Iterator[None]:
        import torch

        threads = torch.get_num_threads()
        current = torch.cuda.device(self._model.device) if self.device == "cuda" else nullcontext()
        if self.device == "cpu" and self._checkpoint.weights.parameters <= ONE_THREAD:
            torch.set_num_threads(1)
        try:
            with current, memory_errors(self.device, lambda: self._remedy(request)):
                yield
        finally:
            torch.set_num_threads(threads)

    def _reader_for(self, request: Request) -> Decoder:
        if self._decoder is not None and self._decoder.cache.capacity >= request.capacity:
            return self._decoder
        alone = len(set(getattr(self._model, "hf_device_map", {}).values())) <= 1
        if self.compile == "on" and not alone:
            raise EngineError("the model lies on several GPUs, and steps are compiled for one only: use --compile off")

        def make() -> Decoder:
            self._decoder = None  # free its memory before allocating more
            if self.compile == "on" or (self.compile == "auto" and self.device == "cuda" and alone):
                return CapturedDecoder(self._model, request.capacity, compiled=self.compile == "on")
            return Decoder(self._model, request.capacity)

        self._decoder = self._recall.hand_over(make)
        return self._decoder

    def _remedy(self, request: Request) -> str:
        """Returns what would fit if the free memory held the weights and half of the clip's share."""
        checkpoint, layout = self._checkpoint, request.layout
        text = layout.input_ids.size - layout.video_tokens + request.sampling.max_tokens
        (t, h, w), side = layout.grid, checkpoint.patch_size
        clip = Clip(t * checkpoint.temporal_patch_size, h * side, w * side, text)
        value_bytes = VALUE_BYTES[self.dtype]
        parts = memory_by_part(checkpoint, clip, value_bytes, self.device)
        return advice(checkpoint, clip, value_bytes, self.device, (parts["total"] + parts["weights"]) // 2)

    def _check(self, request: Request) -> None:
        rows, largest = self._model.get_input_embeddings().num_embeddings, int(request.layout.input_ids.max())
        if largest >= rows:
            raise EngineError(f"the tokenizer's id {largest} is beyond the model's {rows} embeddings")
        super()._check(request)

    def _patches(self, request: Request) -> NDArray[np.float32]:
        of = self._checkpoint
        sizes = of.patch_size, of.temporal_patch_size, of.merge_size
        return patchify(request.pixels, of.image_mean, of.image_std, *sizes)[0]

    def _encode(self, request: Request) -> Tensor:
        import torch

        with torch.inference_mode():
            video = see(self._model.model.visual, self._patches(request), np.array([request.grid]))
            if self.device != "cpu":
                getattr(torch, self.device).synchronize()  # the timing must include the work itself
            return video

    def _libraries(self) -> str:
        import torch
        import transformers

        return f"{torch.__version__} {transformers.__version__} {torch.backends.cpu.get_cpu_capability()}"

    def _chips(self) -> str:
        import torch

        if self.device != "cuda":
            return super()._chips()
        return " ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))

    def _cure(self) -> str:
        certain = self.device == "cpu" or self.dtype == "float32"
        remedy = "its weights are damaged, get them again" if certain else "try --device cpu"
        return f" in {self.dtype} on {self.device}: {remedy}"

    def _read(self, request: Request, prefix: Prefix, video: Tensor | None, reader: Decoder) -> Logits:
        layout, rest = request.layout, slice(prefix.tokens, None)
        if video is not None:
            begun = slice(prefix.tokens)
            reader.begin(self._embeddings(layout.input_ids[begun], video, reader), layout.positions[:, begun])
        return reader.prompt(reader.embed(layout.input_ids[rest]), layout.positions[:, rest])

    def _embeddings(self, ids: NDArray[np.int64], video: Tensor, decoder: Decoder) -> Tensor:
        """Returns the embeddings (tokens, hidden) of a prompt, with the clip's in their place."""
        import torch

        tokens = torch.from_numpy(ids).to(decoder.device)
        embeddings = decoder.embed(tokens)
        with torch.inference_mode():
            embeddings[tokens == self._checkpoint.video_token_id] = video.to(embeddings)
        return embeddings
