"""A checkpoint folder → a transformers model on its device. Local safetensors only, nothing random, nothing remote."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vtcli.engines.device import VALUE_BYTES, Placement
from vtcli.engines.room import choose_gpu, free_memory, gpu_memory
from vtcli.errors import EngineError, ModelError, first_line
from vtcli.install import require
from vtcli.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration


#: transformers loads under global state (default dtype, initialisation off): two at once spoil each other.
_LOADING = threading.Lock()


def require_libraries() -> None:
    """EngineError with the command that installs them when torch or transformers is missing."""
    # Operations that Metal lacks run on the processor instead of failing; read when torch is first imported.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    require("the transformers engine", "torch", "torch", "transformers", "safetensors", "accelerate")


def import_model_code() -> None:
    """Imports what `load_model` needs, which takes seconds, so that it is not waited for later."""
    import transformers

    _ = transformers.Qwen2_5_VLForConditionalGeneration  # imported when first named


def load_model(checkpoint: Checkpoint, placement: Placement) -> tuple[Qwen2_5_VLForConditionalGeneration, list[str]]:
    """The model in evaluation mode, and warnings. Raises ModelError when weights are missing or do not fit."""
    import torch
    import transformers

    loader: Any = transformers.Qwen2_5_VLForConditionalGeneration
    # cuDNN makes a plan for each new shape of attention, tens of milliseconds each; keys grow with each token.
    torch.backends.cuda.enable_cudnn_sdp(False)
    where = _device_map(checkpoint, placement)
    with _LOADING, quiet(), memory_errors(placement.device, lambda: "use a smaller or a quantised model"):
        try:
            model, info = loader.from_pretrained(
                str(checkpoint.path),
                dtype=getattr(torch, placement.dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                device_map=where,
                max_memory=_room() if where == "balanced" else None,
            )
        except Exception as error:  # whatever the library trips over lies in the folder's files
            if out_of_memory(error):
                raise
            raise ModelError(f"{checkpoint.name} cannot be loaded: {first_line(error)}") from error
        away = set(map(str, getattr(model, "hf_device_map", {}).values())) & {"cpu", "disk"}
        if away and placement.device == "cuda":  # it would be computed there, or brought for each token
            raise EngineError(
                f"{checkpoint.name} does not fit on the GPUs together: use a quantised model, or --device cpu"
            )
        # The library fills what it does not find with random numbers and goes on.
        absent = sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", ())]))
        if absent:
            raise ModelError(f"{checkpoint.name} lacks {len(absent)} weights, first {absent[0]}: it is incomplete")
    extra = sorted(map(str, info.get("unexpected_keys", ())))
    warnings = [f"{checkpoint.name}: {len(extra)} unknown weights ignored, first {extra[0]}"] if extra else []
    return model.eval(), warnings


def _device_map(checkpoint: Checkpoint, placement: Placement) -> str | dict[str, str]:
    """All on one device; over all GPUs, layer after layer, where none has room for the weights. Raises EngineError."""
    if placement.device != "cuda":
        return {"": placement.device}
    gpu = choose_gpu(gpu_memory(), checkpoint.weights.parameters * VALUE_BYTES[placement.dtype])
    return "balanced" if gpu is None else {"": f"cuda:{gpu}"}


def _room() -> dict[int | str, int]:
    """What GPUs have free, and main memory, into which what they cannot hold is put to be told."""
    return {**dict(enumerate(gpu_memory())), "cpu": free_memory("cpu")}


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars or log lines of transformers on stderr, which is vt's own."""
    from transformers.utils import logging as library

    logging: Any = library
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch's means that memory ran out; the allocators do not agree on a type."""
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"out of memory|can't allocate memory", str(error)))


@contextmanager
def memory_errors(device: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Turns running out of memory into an EngineError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise EngineError(f"out of memory on {device}: {remedy()}") from error
