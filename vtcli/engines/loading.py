"""Load a checkpoint folder as a transformers model on its device: only local safetensors, no random weights."""

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


#: transformers sets global state while loading (default dtype, initialisation off), so two loads would interfere.
_LOADING = threading.Lock()


def require_libraries() -> None:
    """Raises EngineError with the install command if torch or transformers is missing."""
    # Run operations that Metal lacks on the CPU instead of failing. torch reads this when first imported.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    require("the transformers engine", "torch", "torch", "transformers", "safetensors", "accelerate")


def import_model_code() -> None:
    """Imports the modules of `load_model` ahead of time, since that takes seconds."""
    import transformers

    _ = transformers.Qwen2_5_VLForConditionalGeneration  # a lazy attribute: imported at first access


def load_model(checkpoint: Checkpoint, placement: Placement) -> tuple[Qwen2_5_VLForConditionalGeneration, list[str]]:
    """Returns the model in evaluation mode, and warnings.

    Raises ModelError if weights are missing, damaged or of the wrong shape, EngineError if they do not fit in memory.
    """
    import torch
    import transformers

    loader: Any = transformers.Qwen2_5_VLForConditionalGeneration
    # cuDNN plans each new attention shape anew, tens of milliseconds each, and the keys grow with every token.
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
        except Exception as error:  # any other error comes from the folder's files
            if out_of_memory(error):
                raise
            raise ModelError(f"{checkpoint.name} cannot be loaded: {first_line(error)}") from error
        away = set(map(str, getattr(model, "hf_device_map", {}).values())) & {"cpu", "disk"}
        if away and placement.device == "cuda":  # offloaded weights are computed there or moved for each token
            raise EngineError(
                f"{checkpoint.name} does not fit on the GPUs together: use a quantised model, or --device cpu"
            )
        # transformers fills missing weights with random numbers and continues.
        absent = sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", ())]))
        if absent:
            raise ModelError(f"{checkpoint.name} lacks {len(absent)} weights, first {absent[0]}: it is incomplete")
    extra = sorted(map(str, info.get("unexpected_keys", ())))
    warnings = [f"{checkpoint.name}: {len(extra)} unknown weights ignored, first {extra[0]}"] if extra else []
    return model.eval(), warnings


def _device_map(checkpoint: Checkpoint, placement: Placement) -> str | dict[str, str]:
    """Returns one device for all weights, or "balanced" over all GPUs if none has room alone. Raises EngineError."""
    if placement.device != "cuda":
        return {"": placement.device}
    gpu = choose_gpu(gpu_memory(), checkpoint.weights.parameters * VALUE_BYTES[placement.dtype])
    return "balanced" if gpu is None else {"": f"cuda:{gpu}"}


def _room() -> dict[int | str, int]:
    """Returns the free bytes of each GPU and of main memory, where any overflow goes and is then detected."""
    return {**dict(enumerate(gpu_memory())), "cpu": free_memory("cpu")}


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps progress bars and log lines of transformers off stderr, which vt itself uses."""
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
    """Whether a torch error means that memory ran out; torch's allocators raise different types."""
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"out of memory|can't allocate memory", str(error)))


@contextmanager
def memory_errors(device: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Turns an out-of-memory error into an EngineError with a remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise EngineError(f"out of memory on {device}: {remedy()}") from error
