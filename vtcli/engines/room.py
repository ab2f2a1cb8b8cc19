"""The memory, in bytes, that a device has free at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtcli.engines.device import gpu_has_bfloat16
from vtcli.errors import EngineError, first_line

WEIGHTS_SHARE = 0.8
"""The share of a GPU's memory that weights may take, to leave room for the KV cache and pictures."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux exposes a container's own limits (cgroup v2)."""


def free_memory(device: str, weights: int = 0) -> int:
    """Returns the bytes that "cuda", "mps" or "cpu" has free for a model of `weights` bytes. Raises EngineError (GPU).

    With several GPUs, the selection of `choose_gpu` counts. Main memory counts as far as it is available without
    swapping; in a container, no more than its limit leaves.
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
    """Returns the bytes free on each GPU, or on each of `numbers`; the query itself takes some of a GPU's memory.

    A GPU counts as having 0 free bytes if it cannot be used (for example, because it admits a single process and
    another has it), or if it lacks bfloat16 and another GPU has it. Raises EngineError if a GPU cannot be used and no
    GPU has free bytes.
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
    """Returns the GPU with the most `free` bytes if it is the only one or `weights` leave room; else None, for all."""
    most = max(range(len(free)), key=free.__getitem__)
    return most if len(free) == 1 or weights <= WEIGHTS_SHARE * free[most] else None


def _container_limit() -> int | None:
    """Returns the bytes the container's limit leaves; droppable page cache does not count as used. None if no limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" without a limit, which raises ValueError
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
