"""Clean up before SIGTERM or SIGHUP (a closed terminal) ends the process; defer Ctrl-C and these for a moment.

Python ends the process at once on SIGTERM and SIGHUP, without running `finally` blocks. Only the main thread may change
that: in other threads these contexts do nothing. Handlers that somebody else has set, and signals that are ignored (as
nohup ignores SIGHUP), stay as they are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [s for s in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")) if s is not None]

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise SystemExit (128 + the signal's number), so that `finally` blocks run."""
    with _handled(_leave):
        yield


@contextmanager
def cleaned_up(clean: Callable[[], None]) -> Iterator[None]:
    """Calls `clean` when SIGTERM or SIGHUP arrives; the process then dies of the signal, as it would have without it.

    For what other threads have made: the main thread's stack knows nothing of it. Like Ctrl-C, the signal has no effect
    until the main thread's current call into a C library has returned.
    """

    def end(number: int, frame: FrameType | None) -> None:
        try:
            clean()
        finally:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    with _handled(end):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defers Ctrl-C, and what `terminable` makes of SIGTERM and SIGHUP, to the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not arrive in this thread
        return
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, *_ENDING)}
    mine = {s: handler for s, handler in handlers.items() if handler in (signal.default_int_handler, _leave)}
    arrived: list[int] = []
    try:
        for s in mine:
            signal.signal(s, lambda number, frame: arrived.append(number))
        yield
    finally:
        for s, handler in mine.items():
            signal.signal(s, handler)
    if arrived:
        signal.raise_signal(arrived[0])


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Sets `handler` for SIGTERM and SIGHUP where they would end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = [s for s in _ENDING if signal.getsignal(s) is signal.SIG_DFL]
    try:
        for s in mine:
            signal.signal(s, handler)
        yield
    finally:
        for s in mine:
            signal.signal(s, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
