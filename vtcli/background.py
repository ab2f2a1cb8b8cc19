"""Run a call in a background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A call running in its own daemon thread, so that an error or Ctrl-C elsewhere need not wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.seconds = 0.0
        self._work = work
        self._error: BaseException | None = None
        self._value: T | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begin = perf_counter()
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        self.seconds = perf_counter() - begin

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Waits until the call has ended, with or without an error."""
        self._thread.join()

    def result(self) -> T:
        """Waits for the call and returns its value or raises its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]
