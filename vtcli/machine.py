"""Find where models can run on this machine and how much memory is free there, without importing an engine.

`vt models` and the first `vt ask` use this module, because importing torch takes seconds. `vt doctor` queries the
libraries themselves.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from vtcli.engines.room import free_memory

_METAL_SHARE = 2 / 3  # share of main memory that macOS gives the GPU by default


@dataclass(frozen=True)
class Place:
    """An installed engine, a device it can use ("cuda", "mps", "cpu"), and the bytes free there.

    `value_bytes` is the size of one value in an engine that runs checkpoints unquantised; llama.cpp uses its own types.
    """

    engine: str
    device: str
    free: int
    value_bytes: int = 2


def places() -> list[Place]:
    """Returns the fastest device of each installed engine, and the CPU."""
    return [*_transformers(), *_llama_cpp()]


def _transformers() -> Iterator[Place]:
    if any(util.find_spec(name) is None for name in ("torch", "transformers", "safetensors", "accelerate")):
        return
    if _torch_has_cuda() and (free := _nvidia_memory()):
        yield Place("transformers", "cuda", free)
    elif _has_metal():
        yield Place("transformers", "mps", _metal_memory())
    yield Place("transformers", "cpu", free_memory("cpu"), 2 if _has_bfloat16() else 4)


def _llama_cpp() -> Iterator[Place]:
    spec = util.find_spec("llama_cpp")
    if spec is None or util.find_spec("gguf") is None or util.find_spec("tokenizers") is None:
        return
    libraries = " ".join(file.name for place in spec.submodule_search_locations or () for file in _libraries(place))
    if "cuda" in libraries and (free := _nvidia_memory()):
        yield Place("llama-cpp", "cuda", free)
    elif "metal" in libraries and _has_metal():
        yield Place("llama-cpp", "mps", _metal_memory())
    yield Place("llama-cpp", "cpu", free_memory("cpu"))


def _libraries(package: str) -> Iterator[Path]:
    return Path(package).glob("lib/*ggml*")


def _torch_has_cuda() -> bool:
    """Whether torch has CUDA or ROCm, read from torch/version.py because importing torch takes two seconds."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^(?:cuda|hip)\b[^=]*=\s*['\"]", text, re.MULTILINE) is not None


def _nvidia_memory() -> int:
    """Returns the bytes free on all GPUs visible to CUDA, from the driver's NVML library; 0 without that library.

    Leaves out GPUs without bfloat16 (before Ampere) if another one has it, as loading does.
    """
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return 0
    if library.nvmlInit_v2() != 0:
        return 0
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    visible, found = os.environ.get("CUDA_VISIBLE_DEVICES"), list[tuple[bool, int]]()
    for number in range(count.value):
        device, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # total, free, used
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)) == 0:
            uuid = ctypes.create_string_buffer(96)
            library.nvmlDeviceGetUUID(device, uuid, len(uuid))
            if visible is not None and not _is_visible(number, count.value, uuid.value.decode(), visible):
                continue
            library.nvmlDeviceGetMemoryInfo(device, memory)
            major, minor = ctypes.c_int(), ctypes.c_int()
            library.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
            found.append((major.value >= 8, memory[1]))
    library.nvmlShutdown()
    is_new = any(newer for newer, _ in found)
    return sum(free for newer, free in found if newer or not is_new)


def _is_visible(number: int, count: int, name: str, visible: str) -> bool:
    """Whether `visible`, the value of CUDA_VISIBLE_DEVICES, includes one of `count` GPUs, by number or UUID prefix.

    `name` is the GPU's UUID. Entries after an invalid one are ignored, as in CUDA. A MIG entry may belong to any GPU.
    """
    for listed in (part.strip() for part in visible.split(",")):
        if (
            listed == str(number)
            or listed.startswith("MIG-")
            or (listed.startswith("GPU-") and name.startswith(listed))
        ):
            return True
        if not (listed.startswith("GPU-") or (listed.isdigit() and int(listed) < count)):
            return False
    return False


def _has_metal() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _metal_memory() -> int:
    import psutil

    return min(int(psutil.virtual_memory().total * _METAL_SHARE), free_memory("cpu"))


def _has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16, according to Linux; on other systems, assumed for Apple silicon only."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return _has_metal()
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) is not None
