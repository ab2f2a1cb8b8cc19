"""Choose device and precision: the requested device if available, or with "auto" the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vtcli.errors import EngineError, UsageError

DEVICES = ("auto", "cuda", "mps", "cpu")
#: Up to this many parameters, full precision has no noticeable cost, so weights are not rounded.
SMALL = 100_000_000
VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Placement:
    """Where a checkpoint runs: torch's device name, and torch's dtype by name ("float32", "bfloat16", "float16")."""

    device: str
    dtype: str


def place(asked: str, parameters: int) -> Placement:
    """Returns device and dtype for a checkpoint of this many parameters.

    bfloat16 is what the family was trained in; float16, whose range its activations are known to exceed
    (QwenLM/Qwen3#868), is the last resort. Raises UsageError for an unknown name, EngineError for an absent device.
    """
    if asked not in DEVICES:
        raise UsageError(f"--device {asked}: choose one of {', '.join(DEVICES)}")
    device = _best() if asked == "auto" else asked
    _require(device)
    if parameters <= SMALL:
        return Placement(device, "float32")
    if device == "cpu":
        return Placement(device, "bfloat16" if _cpu_has_bfloat16() else "float32")
    return Placement(device, "bfloat16" if _has_bfloat16(device) else "float16")


def _best() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        reason = "this torch was built without CUDA" if torch.version.cuda is None else "no usable NVIDIA GPU"
        raise EngineError(f"--device cuda: {reason}; use --device auto to run on what there is")
    if device == "mps" and not torch.backends.mps.is_available():
        raise EngineError("--device mps: Metal needs a Mac with Apple silicon; use --device auto")


def _has_bfloat16(device: str) -> bool:
    import torch

    if device == "cuda":
        return any(gpu_has_bfloat16(number) for number in range(torch.cuda.device_count()))
    return torch.backends.mps.is_macos_or_newer(14, 0)


def gpu_has_bfloat16(number: int) -> bool:
    """Whether a GPU multiplies bfloat16 natively; before Ampere it is emulated, many times slower than float16."""
    import torch

    return torch.version.hip is not None or torch.cuda.get_device_capability(number) >= (8, 0)


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; otherwise bfloat16 is slower than float32."""
    import torch

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        check = getattr(torch.cpu, name, None)
        if check is not None and check():
            return True
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)  # covers ARM too, in releases that have it
    return bool(capabilities().get("bf16"))
