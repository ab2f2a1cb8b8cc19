"""Shows the progress of a question on stderr: a loading note, the video and model used, then the trace."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from vtcli.trace.terminal import TraceRenderer
from vtcli.trace.text import sanitise_line

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.ask import Plan
    from vtcli.engines.base import Engine
    from vtcli.trace.parser import Event
    from vtcli.video.reader import Frames


class Follower:
    """A Listener that prints to `console`; with `facts`, also the video, frames and model used.

    As a context manager it leaves a clean line, even when interrupted.
    """

    def __init__(self, console: Console, facts: bool = True) -> None:
        self._console = console
        self._shows_facts = facts
        self._renderer: TraceRenderer | None = None
        self._plan: Plan | None = None
        self._waiting = False

    def planned(self, plan: Plan) -> None:
        self._plan = plan
        # Escape sequences erase the note later, so none is shown without colours or in a file whose colours are forced.
        if self._console.color_system and self._console.file.isatty():
            self._waiting = True
            note = Text(f"loading {sanitise_line(plan.checkpoint.name)} …", style="dim")
            self._console.print(note, end="", no_wrap=True, overflow="ellipsis")

    def generating(self, engine: Engine, frames: Frames) -> None:
        assert self._plan is not None
        self._end_waiting()
        info, used = self._plan.info, frames.plan
        facts = (
            sanitise_line(info.path),
            f"{info.duration:.1f} s",
            f"{len(used.indices)} frames of {used.width}×{used.height}",
            f"{sanitise_line(self._plan.checkpoint.name)} on {engine.device}, {engine.dtype}",
        )
        if self._shows_facts:
            self._console.print(Text(" · ".join(facts), style="dim"), soft_wrap=True)
        self._renderer = TraceRenderer(self._console, info.path, used.offset)

    def event(self, event: Event) -> None:
        if self._renderer:
            self._renderer.event(event)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._end_waiting()
        if self._renderer:
            self._renderer.close()

    def _end_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
