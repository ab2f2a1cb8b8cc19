"""How much memory a device has free at this moment, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtcli.engines.device import gpu_has_bfloat16
from vtcli.errors import EngineError, first_line

WEIGHTS_SHARE = 0.8
"""Of a GPU's memory, what weights may take when the keys, values and pictures must fit beside them."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container its own limits (cgroup v2)."""


def free_memory(device: str, weights: int = 0) -> int:
    """Bytes that "cuda", "mps" or "cpu" can still give to a model of `weights` bytes. Raises EngineError (GPU).

    Of several GPUs what `choose_gpu` chooses. Of main memory what can be had without swapping; in a container no more
    than its limit leaves.
    """
    if device == "cuda":
        free = gpu_memory()
        chosen = choose_gpu(free, weights)
        return sum(free) if chosen is None else free[chosen]
    if device == "mps":
        import torch

        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    available = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return available if limit is None else min(available, limit)


def gpu_memory(numbers: Sequence[int] | None = None) -> list[int]:
    """Bytes free on each GPU, or those of `numbers`; to ask takes some of its memory.

    Nothing is free on one that cannot be used, as by two processes, or that lacks the precision another has. Raises
    EngineError where that is all there are.
    """
    import torch

    asked, free, trouble = range(torch.cuda.device_count()) if numbers is None else numbers, [], ""
    capable = [gpu_has_bfloat16(number) for number in asked]
    for number, newer in zip(asked, capable, strict=True):
        try:
            free.append(int(torch.cuda.mem_get_info(number)[0]) if newer or not any(capable) else 0)
        except RuntimeError as error:
            trouble = first_line(error)
            free.append(0)
    if trouble and not any(free):
        raise EngineError(f"no GPU can be used ({trouble}): with CUDA_VISIBLE_DEVICES= the processor is")
    return free


def choose_gpu(free: Sequence[int], weights: int) -> int | None:
    """Of GPUs with `free` bytes each that which has most, if `weights` leave room beside them; else None: all."""
    most = max(range(len(free)), key=free.__getitem__)
    return most if len(free) == 1 or weights <= WEIGHTS_SHARE * free[most] else None


def _container_limit() -> int | None:
    """What the container's limit leaves, file cache that can be dropped not counted; None without a limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
