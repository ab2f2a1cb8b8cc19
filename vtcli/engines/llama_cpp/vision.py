"""The vision tower: frames → embeddings, pair by pair."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtcli.engines.llama_cpp.library import Library
from vtcli.errors import EngineError, ModelError

_IMAGE = 1  # MTMD_INPUT_CHUNK_TYPE_IMAGE
_CELL = 28  # side of one token in pixels
_MARK = b"<__vt_frame__>"


class VisionTower:
    """The projector in `file`, loaded for the text model `model` (its pointer). Raises ModelError."""

    def __init__(self, library: Library, file: Path, model: Any, gpu: bool, threads: int) -> None:
        self._library = library
        self._mtmd = library.mtmd
        options = self._mtmd.mtmd_context_params_default()
        options.use_gpu, options.warmup, options.n_threads = gpu, False, threads
        options.media_marker = _MARK
        options.image_min_tokens, options.image_max_tokens = 1, 2**20  # no limits: the frame plan sets the sizes
        library.forget_errors()
        self._context = self._mtmd.mtmd_init_from_file(os.fsencode(file), model, options)
        if not self._context:
            raise ModelError(f"{file} cannot be loaded: {library.last_error()}")
        self._width = int(library.llama.llama_model_n_embd(model))

    def encode(self, pixels: NDArray[np.uint8], call: Callable[[Callable[[], None]], None]) -> NDArray[np.float32]:
        """Encodes frames uint8 (N, height, width, 3) into embeddings float32 (tokens, hidden).

        Height and width must be multiples of 28. Two frames form one time step; an odd last frame is used for both.
        `call` runs the encoding of each pair. Raises EngineError.
        """
        frames, height, width, _ = pixels.shape
        each = height * width // _CELL**2
        steps = -(-frames // 2)
        made = np.empty((steps, each, self._width), np.float32)
        for step in range(steps):
            pair = [np.ascontiguousarray(frame) for frame in pixels[2 * step : 2 * step + 2]]
            call(lambda pair=pair, step=step: self._encode_pair(pair, made[step]))  # type: ignore[misc]
        return made.reshape(steps * each, self._width)

    def close(self) -> None:
        """Frees the vision tower."""
        if self._context:
            self._mtmd.mtmd_free(self._context)
            self._context = None

    def _encode_pair(self, frames: list[NDArray[np.uint8]], into: NDArray[np.float32]) -> None:
        with self._chunk(frames) as chunk:
            count = int(self._mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            if count != len(into):
                raise EngineError(f"llama.cpp makes {count} tokens of a pair of frames that is {len(into)}")
            self._library.forget_errors()
            if self._mtmd.mtmd_encode_chunk(self._context, chunk):
                raise EngineError(f"llama.cpp cannot encode the frames: {self._library.last_error()}")
            output = self._mtmd.mtmd_get_output_embd(self._context)  # overwritten by the next pair
            ctypes.memmove(into.ctypes.data, output, into.nbytes)

    @contextmanager
    def _chunk(self, frames: list[NDArray[np.uint8]]) -> Iterator[Any]:
        """Yields the frames as one image chunk and frees its containers afterwards."""
        mtmd = self._mtmd
        bitmaps, chunks = [self._bitmap(frame) for frame in frames], mtmd.mtmd_input_chunks_init()
        try:
            array = (mtmd.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
            marks = _MARK * len(bitmaps)
            text = mtmd.mtmd_input_text(marks, len(marks), False, True)
            if mtmd.mtmd_tokenize(self._context, chunks, ctypes.byref(text), array, len(bitmaps)):
                raise EngineError(f"llama.cpp does not take the frames: {self._library.last_error()}")
            found = [mtmd.mtmd_input_chunks_get(chunks, n) for n in range(mtmd.mtmd_input_chunks_size(chunks))]
            images = [chunk for chunk in found if mtmd.mtmd_input_chunk_get_type(chunk) == _IMAGE]
            if len(images) != 1:
                raise EngineError(f"llama.cpp makes {len(images)} pictures of one pair of frames")
            yield images[0]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            for bitmap in bitmaps:
                mtmd.mtmd_bitmap_free(bitmap)

    def _bitmap(self, frame: NDArray[np.uint8]) -> Any:
        height, width, _ = frame.shape
        data = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = self._mtmd.mtmd_bitmap_init(width, height, data)
        self._mtmd.mtmd_bitmap_set_mergeable(bitmap, True)
        return bitmap
