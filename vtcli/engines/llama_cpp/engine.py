"""The llama.cpp engine: the same layout, frames and record as the other one, on quantised weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from time import perf_counter
from typing import Any

import numpy as np

import vtcli
from vtcli.background import Background
from vtcli.cores import ONE_THREAD, cores
from vtcli.engines.base import Request, StreamStats
from vtcli.engines.llama_cpp.calls import Calls
from vtcli.engines.llama_cpp.gpu import gpu_layers, gpu_memory, gpu_name
from vtcli.engines.llama_cpp.library import Library, library
from vtcli.engines.llama_cpp.text import F16, F32, TextModel
from vtcli.engines.llama_cpp.vision import VisionTower
from vtcli.engines.lookup import Lookup
from vtcli.engines.prefix import Prefix, PrefixStore, Recall
from vtcli.engines.reply import Reply
from vtcli.engines.room import free_memory
from vtcli.errors import EngineError, ModelError, UsageError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.fingerprint import fingerprint, last_changed
from vtcli.models.tokenizer import Tokenizer

_GUESSED = 4
"""Tokens read ahead where the text repeats itself."""


class LlamaCppEngine:
    """A GGUF model and its projector. See `engines.base.Engine`.

    `device` one of auto, cuda, mps, cpu: a GPU is used where this llama.cpp was built for it, for as many layers as
    fit. `dtype` is that of the keys and values. `store` keeps what is computed of clips.
    """

    name = "llama-cpp"

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer, device: str = "auto", store: PrefixStore | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._library: Library | None = None
        self._model: Any = None
        self._vision: Background[VisionTower] | None = None
        self._text: TextModel | None = None
        self._calls: Calls | None = None
        self._recall = Recall(store)
        self._computed: dict[str, str] | None = None
        self.quant = checkpoint.quant
        self.device = device
        self.dtype = ""
        self.warnings: tuple[str, ...] = ()
        self._opened_with: tuple[str, ...] = ()
        self.stats: StreamStats | None = None

    def prepare(self) -> None:
        """Loads llama.cpp and chooses the device. Raises EngineError."""
        if self.dtype:
            return
        self._library = library()
        there = gpu_name(self._library)
        if self.device not in ("auto", "cuda", "mps", "cpu"):
            raise UsageError(f"--device {self.device}: choose one of auto, cuda, mps, cpu")
        if self.device in ("cuda", "mps") and there != self.device:
            raise EngineError(
                f"--device {self.device}: this llama.cpp was built for {there or 'the processor alone'}; "
                "use --device auto to run on what there is"
            )
        self.device = (there or "cpu") if self.device == "auto" else self.device
        self.dtype = "float32" if self.quant == "F32" else "float16"

    def free_memory(self) -> int:
        """Bytes the device has free now; layers that do not fit a GPU go to main memory."""
        assert self._library is not None
        # Of a Mac's one memory the GPU's is a part.
        return free_memory("cpu") + (gpu_memory(self._library) if self.device == "cuda" else 0)

    def open(self) -> None:
        """Loads the weights. Raises EngineError (library, device), ModelError (files)."""
        if self._model is not None:
            return
        self.prepare()
        lib, checkpoint = self._library, self._checkpoint
        assert lib is not None and checkpoint.projector is not None
        options = lib.llama.llama_model_default_params()
        layers = int(checkpoint.text_config["num_hidden_layers"])
        options.n_gpu_layers = gpu_layers(lib, checkpoint.weights.bytes, layers) if self._on_gpu else 0
        lib.forget_errors()
        model = lib.llama.llama_model_load_from_file(os.fsencode(checkpoint.path), options)
        if not model:
            raise ModelError(f"{checkpoint.path} cannot be loaded: {lib.last_error()}")
        self._model, self._calls = model, Calls()
        # Beside everything else: a clip that is remembered needs no vision tower.
        self._vision = Background(partial(VisionTower, lib, checkpoint.projector, model, self._on_gpu, self._threads))
        if self._on_gpu and options.n_gpu_layers <= layers:
            self._opened_with = (
                f"{options.n_gpu_layers} of {layers} layers fit the GPU; the others run on the processor",
            )

    def close(self) -> None:
        """Frees model and memory, as soon as no call into llama.cpp lasts any more."""
        if self._model is None or self._calls is None:
            return
        model, vision, text, lib, calls = self._model, self._vision, self._text, self._library, self._calls
        self._model = self._vision = self._text = self._calls = None
        self._recall.forget()

        def free() -> None:
            if text is not None:
                text.close()
            if vision is not None:
                with contextlib.suppress(ModelError):
                    vision.result().close()
            assert lib is not None
            lib.llama.llama_model_free(model)

        # A tower that nobody needed may still be loading.
        calls.close(free, wait=vision is None or vision.done)

    def stream(self, request: Request) -> Iterator[str]:
        """The reply, piece by piece. Leaving early (Ctrl-C, closing the iterator) ends it as "interrupted"."""
        if self._model is None or self._calls is None:
            raise EngineError("the engine is not open")
        self._calls.settle()
        self.stats = None
        self._check(request)
        self.warnings = (*self._opened_with, *_slow(request, self._checkpoint.video_token_id))
        reply: Reply | None = None
        encoded, filled, ended, cached, started = 0.0, 0.0, 0.0, 0, perf_counter()
        try:
            text, prefix = self._text_for(request), self._prefix(request)
            if self._recall.find(prefix, text):
                cached = prefix.tokens
                encoded = perf_counter()
            else:
                video = self._vision_tower().encode(request.pixels, self._calls)
                encoded = perf_counter()
                text.begin(request.layout, prefix, video)
            first = text.finish(request.layout, prefix)
            if not np.isfinite(first).all():
                raise EngineError("the model computes no numbers: its file is damaged, get it again")
            filled = perf_counter()
            reply = self._reply(request, first, text)
            yield from reply
            ended = perf_counter()
            self.warnings += self._recall.keep(prefix, text)
        finally:
            now = ended or perf_counter()
            encoded, filled = encoded or now, filled or now
            finish, count = (reply.finish, reply.tokens) if reply else ("interrupted", 0)
            self.stats = StreamStats(finish, count, encoded - started, filled - encoded, now - filled, cached)

    def _vision_tower(self) -> VisionTower:
        assert self._vision is not None
        return self._vision.result()

    def _prefix(self, request: Request) -> Prefix:
        if self._computed is None:
            self._computed = {
                "engine": self.name,
                "device": self.device,
                "dtype": self.dtype,
                "weights": f"{fingerprint(self._checkpoint)} {last_changed(self._checkpoint)}",
                "libraries": f"{vtcli.__version__} {metadata.version('llama-cpp-python')}",
            }
        return Prefix.of(request.layout, request.pixels, self._checkpoint.video_token_id, self._computed)

    @property
    def _threads(self) -> int:
        return 1 if self._checkpoint.weights.parameters <= ONE_THREAD else cores()

    @property
    def _on_gpu(self) -> bool:
        return self.device != "cpu"

    def _reply(self, request: Request, first: Any, text: TextModel) -> Reply:
        words = request.layout.input_ids[request.layout.input_ids != self._checkpoint.video_token_id]
        lookup = Lookup(_GUESSED, words.tolist())
        ends, characters = self._checkpoint.eos_token_ids, self._tokenizer.detokenizer()
        return Reply(first, text, request.sampling, ends, characters, lookup)

    def _text_for(self, request: Request) -> TextModel:
        """A context with room for `request`: the last one where it has."""
        if self._text is not None and self._text.capacity >= request.capacity:
            return self._text
        self._recall.forget()
        if self._text is not None:
            self._text.close()
            self._text = None
        calls = self._calls
        assert self._library is not None and calls is not None
        kind = F32 if self.quant == "F32" else F16
        self._text = TextModel(
            self._library,
            self._model,
            request.capacity,
            kind,
            self._on_gpu,
            self._threads,
            1 + _GUESSED,
            calls,
            lambda: calls.stopping,
        )
        return self._text

    def _check(self, request: Request) -> None:
        if self._checkpoint.grid(*request.pixels.shape[:3]) != request.layout.grid:
            raise EngineError(f"frames of the shape {request.pixels.shape} do not fill the grid {request.layout.grid}")


def _slow(request: Request, video_token_id: int) -> Iterator[str]:
    """A warning where steps of the clip share their time (`TextModel`), which takes long on a large model."""
    layout = request.layout
    cells = layout.video_tokens // layout.grid[0]
    times = layout.positions[0, layout.input_ids == video_token_id][::cells]
    if tied := cells * int((times[1:] == times[:-1]).sum()):
        yield f"more than 4 frames a second: {tied} tokens are read one by one, which takes long; give fewer frames"
