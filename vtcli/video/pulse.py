"""A heartbeat from the code that reads a video to the code that waits for it; almost free without a listener."""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[], None] | None = None


def listen(listener: Callable[[], None] | None) -> None:
    """Makes every beat call `listener`, in the thread that beats; None stops that."""
    global _listener
    _listener = listener


def beat() -> None:
    """Signals that reading continues: called for every packet, every picture and every piece of a download."""
    if _listener is not None:
        _listener()
