"""The CPU: how many cores are available for computation, and which processor it is."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

#: Below this many parameters one thread is faster than several, many times faster on a busy machine.
ONE_THREAD = 20_000_000


def cores() -> int:
    """Returns the number of CPU cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Returns the processor's name and, on Linux, its instruction sets, which decide how sums are rounded."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = [re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE) for name in ("model name", "flags", "Features")]
    return " ".join([platform.machine(), *(match[1] for match in found if match)])
