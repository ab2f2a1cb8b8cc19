"""Calls into C that take seconds, made from a thread of their own, so that Ctrl-C is heard while they last."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_PATIENCE = 1.0
"""Seconds to wait for a call that was given up; the encoding of frames cannot be aborted."""


class Calls:
    """Runs calls one after another.

    Whoever stops waiting for one (Ctrl-C) sets `stopping` until the next is begun: what can be aborted looks there.
    The thread is a daemon: a call that cannot be aborted does not keep the process from ending.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="llama.cpp", daemon=True).start()

    def __call__(self, call: Callable[[], T]) -> T:
        """The result of `call`, which runs as soon as those before it have ended; its error is raised."""
        done: Future[T] = Future()
        self._queue.put((call, done))
        try:
            return done.result()
        except BaseException:
            if not done.cancel():
                self.stopping = not done.done()
            raise

    def settle(self) -> None:
        """Waits until a call that was given up has really ended."""
        if self.stopping:
            self(lambda: None)

    def close(self, last: Callable[[], None], wait: bool = True) -> None:
        """Has `last` run when all else has ended, and then no more.

        Waits for it, but not for long after Ctrl-C or where that is not wanted.
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
