"""Show a trace on a terminal as it is generated: times as links, captions, dimmed thinking."""

from __future__ import annotations

import os

from rich.console import Console
from rich.style import Style

from vtcli.trace.links import time_link
from vtcli.trace.parser import Event, Kind
from vtcli.trace.text import sanitise, sanitise_line
from vtcli.trace.times import format_range
from vtcli.trace.wrap import WordWrap

_STYLES: dict[Kind, Style] = {
    "text": Style(dim=True),
    "time": Style(color="cyan", bold=True),
    "caption": Style(),
    "think": Style(dim=True, italic=True),
    "answer": Style(color="green", bold=True),
}
_ANSWER_LABEL = "answer"
_NARROW_INDENT = 4


def links_shown(console: Console) -> bool:
    """Whether `console` is a terminal that opens OSC 8 links, or at least ignores them (the Linux console does not)."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and not console.legacy_windows
        and os.environ.get("TERM") != "linux"
    )


class TraceRenderer:
    """Renders a parser's events on `console` (stderr, by convention); call `close` at the end or when interrupted.

    With `video_path`, times become links. `offset` seconds (a window's start) are added to the times shown and linked.
    The answer is left to the caller, for stdout, unless `answer` is set. Model text is untrusted: control characters
    are made visible and Rich markup is not interpreted.
    """

    def __init__(
        self, console: Console, video_path: str | None = None, offset: float = 0.0, *, answer: bool = False
    ) -> None:
        self._wrap = WordWrap(console)
        self._width = console.width
        self._video = video_path if links_shown(console) else None
        self._offset = offset
        self._answer = answer
        self._kind: Kind | None = None
        self._hang = 0  # the column of the captions under the last time

    def event(self, event: Event) -> None:
        """Prints the content of `event`."""
        if event.kind == "time":
            self._time(event)
            return
        if event.kind == "answer" and not self._answer:
            return
        if event.kind == "text" != self._kind and not event.text.strip():
            return  # whitespace between a time and its caption
        if event.opens or event.kind != self._kind:
            self._begin(event.kind)
        self._wrap.write(sanitise(event.text))

    def close(self) -> None:
        """Ends the last line."""
        self._wrap.close()

    def _begin(self, kind: Kind) -> None:
        after_time = self._kind == "time"
        if kind == "answer":
            self._wrap.label(_ANSWER_LABEL, _STYLES["time"])
            self._wrap.paragraph(len(_ANSWER_LABEL) + 2, _STYLES[kind], same_line=True)
        else:
            indent = 0 if kind == "text" else self._hang
            self._wrap.paragraph(indent, _STYLES[kind], same_line=after_time and kind == "caption")
        self._kind = kind

    def _time(self, event: Event) -> None:
        style = _STYLES["time"]
        if event.start is None or event.end is None:
            label = sanitise_line(event.text)
        else:
            start, end = event.start + self._offset, event.end + self._offset
            label = format_range(start, end)
            if self._video is not None:
                style += Style(link=time_link(self._video, start))
        self._kind = "time"
        if label:
            self._hang = self._wrap.label(label, style)
            if self._hang > self._width // 2:
                self._hang = _NARROW_INDENT
