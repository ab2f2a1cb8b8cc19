"""The GPU that this build of llama.cpp can use: its kind, its free memory, and the number of layers that fit."""

from __future__ import annotations

import ctypes
import sys

from vtcli.engines.llama_cpp.library import Library
from vtcli.engines.room import WEIGHTS_SHARE

_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU


def gpu_name(library: Library) -> str | None:
    """Returns torch's name of the GPU, "cuda" or "mps"; None for a CPU-only build or a machine without a GPU."""
    if not library.llama.llama_supports_gpu_offload() or not _devices():
        return None
    return "mps" if sys.platform == "darwin" else "cuda"


def gpu_memory(library: Library) -> int:
    """Returns the bytes free on all GPUs together."""
    free = 0
    ggml = _ggml()
    for device in _devices():
        one, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml.ggml_backend_dev_memory(device, ctypes.byref(one), ctypes.byref(total))
        free += one.value
    return free


def gpu_layers(library: Library, weights: int, layers: int) -> int:
    """Returns the layers to run on the GPU: `layers` + 1 (with output layer) if `weights` bytes fit, else a share."""
    room = WEIGHTS_SHARE * gpu_memory(library)
    return layers + 1 if weights <= room else int(layers * room / weights)


def device_names() -> str:
    """Returns what llama.cpp calls all its devices, the processor included."""
    ggml = _ggml()
    return ", ".join(ggml.ggml_backend_dev_description(device).decode(errors="replace") for device in _all_devices())


def _devices() -> list[ctypes.c_void_p]:
    ggml = _ggml()
    return [device for device in _all_devices() if ggml.ggml_backend_dev_type(device) == _GPU]


def _all_devices() -> list[ctypes.c_void_p]:
    ggml = _ggml()
    return [ctypes.c_void_p(ggml.ggml_backend_dev_get(number)) for number in range(ggml.ggml_backend_dev_count())]


def _ggml() -> ctypes.CDLL:
    from llama_cpp._ggml import libggml

    ggml: ctypes.CDLL = libggml
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes, ggml.ggml_backend_dev_get.restype = [ctypes.c_size_t], ctypes.c_void_p
    ggml.ggml_backend_dev_type.argtypes, ggml.ggml_backend_dev_type.restype = [ctypes.c_void_p], ctypes.c_int
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    ggml.ggml_backend_dev_memory.restype = None
    ggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    return ggml
