"""The number of CPU cores available for computation."""

from __future__ import annotations

import os
import sys

#: Below this many parameters one thread is faster than several, many times faster on a busy machine.
ONE_THREAD = 20_000_000


def cores() -> int:
    """Returns the number of CPU cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
