"""How much memory a device has free at this moment, bytes."""

from __future__ import annotations

from pathlib import Path

WEIGHTS_SHARE = 0.8
"""Of a GPU's memory, what weights may take when the keys, values and pictures must fit beside them."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container its own limits (cgroup v2)."""


def free_memory(device: str, gpus: int | None = None) -> int:
    """Bytes that "cuda", "mps" or "cpu" can still give to a model.

    Of all GPUs or the first `gpus`. Of main memory what can be had without swapping; in a container no more than its
    limit leaves.
    """
    if device == "cuda":
        import torch

        return sum(int(torch.cuda.mem_get_info(number)[0]) for number in range(gpus or torch.cuda.device_count()))
    if device == "mps":
        import torch

        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    available = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return available if limit is None else min(available, limit)


def _container_limit() -> int | None:
    """What the container's limit leaves, file cache that can be dropped not counted; None without a limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" where there is none
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
