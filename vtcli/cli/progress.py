"""Progress of a run over many items on stderr: a bar on a terminal, otherwise an occasional plain line."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from vtcli.trace.text import sanitise_line
from vtcli.trace.times import format_time
from vtcli.video.text import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_EVERY = 30.0  # seconds between plain lines
_FEW = 2  # items needed for a meaningful rate


class Counter:
    """Shows the progress of `total` items, `done` of which an earlier run completed.

    As a context manager it leaves clean lines. `now` returns seconds; tests replace it.
    """

    def __init__(
        self, console: Console, total: int, done: int, quiet: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._total = total
        self._earlier = self._done = done
        self._failed = 0
        self._said = ""
        self._note = ""
        self._quiet = quiet
        self._now = now
        self._begin: float | None = None
        self._first = 0
        self._last_line = now()
        self._bar: Progress | None = None
        if not quiet and console.is_terminal and not console.is_dumb_terminal:
            self._bar = _bar(console)
            self._task = self._bar.add_task("", total=total, completed=done, facts="loading …")

    def warn(self, message: str) -> None:
        """Prints a warning line that stays; a repeat of the last warning is dropped."""
        if not self._quiet and message != self._said:
            self._said = message
            self._console.print(f"vt: warning: {sanitise_line(message)}", style="yellow", soft_wrap=True)

    def one(self, name: str, error: str | None, note: str = "") -> None:
        """Counts one item as done; `error` says why it has no answer. `note` is shown until the next item."""
        self._note = note
        self._done += 1
        now = self._now()
        if self._begin is None:  # the rate must not include loading the model
            self._begin, self._first = now, self._done
        if error is not None:
            self._failed += 1
            self.warn(error if shown(name) in error else f"{shown(name)}: {error}")
        if self._bar:
            self._bar.update(self._task, completed=self._done, facts=" · ".join(self._facts(now)))
        elif not self._quiet and now - self._last_line >= _EVERY and self._done < self._total:
            self._last_line = now
            self._console.print(" · ".join((f"{self._done} of {self._total}", *self._facts(now))), soft_wrap=True)

    def _facts(self, now: float) -> list[str]:
        facts = [self._note] if self._note else []
        facts += [f"{self._failed} failed"] if self._failed else []
        counted = self._done - self._first
        if self._begin is None or counted < _FEW or now <= self._begin:
            return facts
        each = (now - self._begin) / counted
        facts.append(f"{each:.1f} s each" if each >= 1 else f"{1 / each:.1f} a second")
        if left := self._total - self._done:
            facts.append(f"{format_time(round(each * left))} left")
        return facts

    def __enter__(self) -> Counter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[facts]}", markup=False)
    return Progress(*columns, console=console, transient=True)
