"""Run C calls that take seconds in a separate thread, so that Ctrl-C is handled while they run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_PATIENCE = 1.0
"""Seconds to wait for an abandoned call; the encoding of frames cannot be aborted."""


class Calls:
    """Runs calls one after another.

    If the caller stops waiting for a running call (Ctrl-C), `stopping` is True until the next call starts; abortable
    calls check it. The thread is a daemon: a call that cannot be aborted does not keep the process alive.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="llama.cpp", daemon=True).start()

    def __call__(self, call: Callable[[], T]) -> T:
        """Runs `call` after the calls before it; returns its result or raises its error."""
        done: Future[T] = Future()
        self._queue.put((call, done))
        try:
            return done.result()
        except BaseException:
            if not done.cancel():
                self.stopping = not done.done()
            raise

    def settle(self) -> None:
        """Waits until an abandoned call has ended."""
        if self.stopping:
            self(lambda: None)

    def close(self, last: Callable[[], None], wait: bool = True) -> None:
        """Runs `last` after all other calls, then ends the thread.

        Waits for `last`, but at most `_PATIENCE` seconds after Ctrl-C or without `wait`.
        """
        done: Future[None] = Future()
        self._queue.put((last, done))
        self._queue.put(None)
        with contextlib.suppress(TimeoutError):
            done.result(_PATIENCE if self.stopping or not wait else None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            call, done = item
            if not done.set_running_or_notify_cancel():
                continue
            self.stopping = False
            try:
                done.set_result(call())
            except BaseException as error:
                done.set_exception(error)
