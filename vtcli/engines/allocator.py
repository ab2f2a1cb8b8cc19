"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_KEPT = 2**30
"""Bytes at the end of the heap that are kept for what is asked for next."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, up to a gigabyte; elsewhere nothing happens.

    Every layer asks for the same tens of megabytes as the one before. Blocks of that size are by default given back to
    the system and got anew, page by page and filled with zeros.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # other C libraries have no such switch
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
