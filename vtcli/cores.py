"""How many processors there are to compute with."""

from __future__ import annotations

import os
import sys

#: Below this many parameters one thread is faster than several, and many times so on a busy machine.
ONE_THREAD = 20_000_000


def cores() -> int:
    """Processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
