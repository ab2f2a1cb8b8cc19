"""Configure how the C library handles freed memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_KEPT = 2**30
"""Free bytes at the end of the heap that are kept for later allocations."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory, up to a gigabyte; does nothing with other C libraries.

    Every layer allocates the same tens of megabytes as the layer before. By default, glibc returns blocks of that size
    to the system and allocates them again, page by page and filled with zeros.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # other C libraries have no mallopt
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
