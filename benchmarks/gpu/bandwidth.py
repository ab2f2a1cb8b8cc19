"""Measures how fast the GPU copies memory, and so the most tokens a second if each token reads all weights once.

python benchmarks/gpu/bandwidth.py
"""

from __future__ import annotations

import statistics
import time

GIGABYTES = 8
SEVEN_B = 2 * (7_615_616_512 - 152_064 * 3584)
"""Bytes of the 7B's text model in bfloat16 without the input embedding: what one decoded token reads."""


def main() -> None:
    rate = copied()
    print(f"{rate / 1e12:.2f} TB/s copied: at most {rate / SEVEN_B:.0f} tokens a second of a 7B in bfloat16")


def copied() -> float:
    """Returns the bytes per second that are read and written when memory is copied."""
    import torch

    source = torch.empty(GIGABYTES * 10**9, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    del source, target
    torch.cuda.empty_cache()
    return 2 * GIGABYTES * 1e9 / statistics.median(times)  # read once, written once


if __name__ == "__main__":
    main()
