"""A sign of life from whatever reads a video, for whoever waits for it; costs next to nothing where nobody does."""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[], None] | None = None


def listen(listener: Callable[[], None] | None) -> None:
    """Has `listener` called at every beat, in the thread that beats; None ends it."""
    global _listener
    _listener = listener


def beat() -> None:
    """Says that reading goes on: called for every packet, picture and piece of a download."""
    if _listener is not None:
        _listener()
