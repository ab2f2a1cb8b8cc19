"""The llama.cpp engine: the same layout, frames and record as the transformers engine, on quantised weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from vtcli.background import Background
from vtcli.cores import ONE_THREAD, cores
from vtcli.engines.base import Request
from vtcli.engines.llama_cpp.calls import Calls
from vtcli.engines.llama_cpp.gpu import device_names, gpu_layers, gpu_memory, gpu_name
from vtcli.engines.llama_cpp.library import Library, library
from vtcli.engines.llama_cpp.text import F16, F32, TextModel
from vtcli.engines.llama_cpp.vision import VisionTower
from vtcli.engines.local import LocalEngine
from vtcli.engines.lookup import GUESSED
from vtcli.engines.prefix import Prefix, PrefixStore
from vtcli.engines.reply import Logits
from vtcli.engines.room import free_memory
from vtcli.errors import EngineError, ModelError, UsageError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer


class LlamaCppEngine(LocalEngine[TextModel]):
    """A GGUF model and its projector. See `engines.base.Engine`.

    `device` is one of auto, cuda, mps, cpu. If this llama.cpp was built for the GPU, it runs as many layers as fit.
    `dtype` is the precision of the KV cache. `store` keeps computed video prefixes.
    """

    name = "llama-cpp"

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer, device: str = "auto", store: PrefixStore | None = None
    ) -> None:
        super().__init__(checkpoint, tokenizer, device, store)
        self._library: Library | None = None
        self._vision: Background[VisionTower] | None = None
        self._text: TextModel | None = None
        self._calls: Calls | None = None
        self._gpu_layers = 0

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
        """Returns the bytes free now, including main memory, which takes the layers that do not fit on a GPU."""
        assert self._library is not None
        # On a Mac, GPU memory is part of main memory and must not be counted twice.
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
        self._gpu_layers = gpu_layers(lib, checkpoint.weights.bytes, layers) if self._on_gpu else 0
        options.n_gpu_layers = self._gpu_layers
        options.use_extra_bufts = lib.may_repack
        lib.forget_errors()
        model = self._loaded(lambda: lib.llama.llama_model_load_from_file(os.fsencode(checkpoint.path), options))
        if not model:
            raise ModelError(f"{checkpoint.path} cannot be loaded: {lib.last_error()}")
        self._model, self._calls = model, Calls()
        # Loaded in the background: a clip with a kept prefix needs no vision tower.
        self._vision = Background(partial(VisionTower, lib, checkpoint.projector, model, self._on_gpu, self._threads))
        if self._on_gpu and self._gpu_layers <= layers:
            self._opened_with = (f"{self._gpu_layers} of {layers} layers fit the GPU; the others run on the processor",)

    def close(self) -> None:
        """Frees model and memory once no call into llama.cpp is running."""
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

        # A vision tower that was not needed may still be loading.
        calls.close(free, wait=vision is None or vision.done)

    @contextmanager
    def _at_work(self, request: Request) -> Iterator[None]:
        assert self._calls is not None
        self._calls.settle()
        yield

    def _encode(self, request: Request) -> NDArray[np.float32]:
        assert self._calls is not None
        return self._vision_tower().encode(request.pixels, self._calls)

    def _read(self, request: Request, prefix: Prefix, video: NDArray[np.float32] | None, reader: TextModel) -> Logits:
        if video is not None:
            reader.begin(request.layout, prefix, video)
        return reader.finish(request.layout, prefix)

    def _libraries(self) -> str:
        return metadata.version("llama-cpp-python")

    def _chips(self) -> str:
        return f"{super()._chips()} {device_names()} {self._gpu_layers}"

    def _cure(self) -> str:
        return ": its file is damaged, get it again"

    def _vision_tower(self) -> VisionTower:
        assert self._vision is not None
        return self._vision.result()

    @property
    def _threads(self) -> int:
        return 1 if self._checkpoint.weights.parameters <= ONE_THREAD else cores()

    @property
    def _on_gpu(self) -> bool:
        return self.device != "cpu"

    def _reader_for(self, request: Request) -> TextModel:
        if self._text is not None and self._text.capacity >= request.capacity:
            return self._text
        library, calls = self._library, self._calls
        assert library is not None and calls is not None

        def make() -> TextModel:
            if self._text is not None:
                self._text.close()
                self._text = None
            kind = F32 if self.quant == "F32" else F16
            return TextModel(
                library,
                self._model,
                request.capacity,
                kind,
                self._on_gpu,
                self._threads,
                GUESSED,
                calls,
                lambda: calls.stopping,
            )

        self._text = self._recall.hand_over(make)
        return self._text

    def _notes(self, request: Request) -> tuple[str, ...]:
        """Returns a warning if time steps of the clip share a time, which is slow on a large model (`TextModel`)."""
        layout = request.layout
        cells = layout.video_tokens // layout.grid[0]
        times = layout.positions[0, layout.input_ids == self._checkpoint.video_token_id][::cells]
        tied = cells * int((times[1:] == times[:-1]).sum())
        if not tied:
            return ()
        return (f"more than 4 frames a second: {tied} tokens are read one by one, which takes long; give fewer frames",)
