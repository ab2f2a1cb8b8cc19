"""What llama.cpp makes of a clip left to itself: its video path, and every frame as a picture.

The same frames, weights and prompt as vt's; the parts are handed over as `mtmd_helper_video` of llama.cpp (pairs of
frames, without its timestamps, which only add to the difference) and `Qwen25VLChatHandler` of llama-cpp-python (one
picture a frame) do it, and evaluated by llama.cpp's own helper.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.parity.cases import Case
from tests.parity.compare import request_of
from tests.parity.runs import Model
from vtcli.engines.llama_cpp import LlamaCppEngine

VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def native(engine: LlamaCppEngine, case: Case, folder: Path, model: Model, way: Literal["video", "pictures"]) -> Any:
    """The arrays of a case as `compare` takes them; tokens and positions are llama.cpp's, and not told."""
    plan, request = request_of(case, folder, model)
    tower, library = engine._vision_tower(), engine._library
    assert library is not None
    llama, mtmd = library.llama, library.mtmd
    frames = list(request.pixels)
    marks = b"<__vt_frame__>" * len(frames)
    before, _, after = plan.prompt.encode().partition(VIDEO.encode())
    bitmaps = [tower._bitmap(np.ascontiguousarray(frame)) for frame in frames]
    for bitmap in bitmaps:
        mtmd.mtmd_bitmap_set_mergeable(bitmap, way == "video")
    chunks, whole = mtmd.mtmd_input_chunks_init(), before + marks + after
    array = (mtmd.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
    text = mtmd.mtmd_input_text(whole, len(whole), False, True)
    assert mtmd.mtmd_tokenize(tower._context, chunks, ctypes.byref(text), array, len(bitmaps)) == 0
    cells = int(mtmd.mtmd_helper_get_n_tokens(chunks))
    options = llama.llama_context_default_params()
    options.n_ctx, options.flash_attn_type = cells + request.sampling.max_tokens + 64, 0
    options.n_threads = options.n_threads_batch = engine._threads
    context, position = llama.llama_init_from_model(engine._model, options), llama.llama_pos(0)
    last = ctypes.byref(position)
    assert mtmd.mtmd_helper_eval_chunks(tower._context, context, chunks, 0, 0, 512, True, last) == 0
    rows = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(engine._model)))
    first = logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (rows,)).copy()
    tokens: list[int] = []
    while True:
        tokens.append(int(logits.argmax()))
        if tokens[-1] in plan.checkpoint.eos_token_ids or len(tokens) == request.sampling.max_tokens:
            break
        one = (ctypes.c_int32 * 1)(tokens[-1])
        where = (ctypes.c_int32 * 1)(position.value + len(tokens) - 1)
        batch = llama.llama_batch_get_one(one, 1)
        batch.pos = where
        assert llama.llama_decode(context, batch) == 0
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (rows,)).copy()
    llama.llama_free(context)
    mtmd.mtmd_input_chunks_free(chunks)
    for bitmap in bitmaps:
        mtmd.mtmd_bitmap_free(bitmap)
    return {
        "indices": np.asarray(plan.frames.indices),
        "size": np.asarray([plan.frames.height, plan.frames.width]),
        "input_ids": np.zeros(cells),
        "positions": np.zeros(0),
        "pixels": np.zeros(0),
        "logits": first,
        "tokens": np.asarray(tokens),
    }
