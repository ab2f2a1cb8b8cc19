"""Model text → events, as it arrives: free text, `<time>`, `<caption>`, `<think>` and `<answer>`.

The events' `raw` joined give back the input exactly, however the stream was cut and however broken the markup is.
Rules for broken markup (as in outputs of Video-Thinker, Qwen2.5-VL, Video-R1 and others):

- names are case-insensitive; `<thinking>` is `<think>`; Open-o3-Video's `<t>` is a time outside the other tags;
- an opening tag ends whatever is open, which was then never closed. Inside an answer or for `<t>`, times are inline:
  their tags are markup and their content is the text around them;
- a closing tag that closes nothing is markup without effect;
- `<time>` that no tag ends within 64 characters is no time but free text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vtcli.trace.times import parse_range

Kind = Literal["text", "time", "caption", "think", "answer"]

_KINDS: dict[str, Kind] = {
    "time": "time",
    "t": "time",
    "caption": "caption",
    "think": "think",
    "thinking": "think",
    "answer": "answer",
}
_TAG = re.compile(rf"<(/?)({'|'.join(_KINDS)})>", re.ASCII | re.IGNORECASE)
_TAGS = tuple(f"<{slash}{name}>" for name in _KINDS for slash in ("", "/"))
_LONGEST_TAG = max(map(len, _TAGS))
_LONGEST_TIME = 64


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of the stream.

    `raw`: its exact characters. `text`: what of them is content ("" for a tag; a time's inside, trimmed).
    `opens`/`closes`: a caption, think or answer begins or ends here, with the text between in further events
    as it arrives. `cut`: it ended without its closing tag. `start`/`end`: seconds of a time that can be read.
    """

    kind: Kind
    raw: str
    text: str = ""
    opens: bool = False
    closes: bool = False
    cut: bool = False
    start: float | None = None
    end: float | None = None


class TraceParser:
    """Incremental parser. `feed` each piece of text, then `close` once; both return the events that became certain.

    Only what may be the beginning of a tag (at most 10 characters) and an open `<time>` are held back.
    """

    def __init__(self) -> None:
        self._kind: Kind = "text"
        self._held = ""  # what may be the beginning of a tag
        self._time_tag = ""
        self._time = ""  # the content of the open <time>, at most _LONGEST_TIME characters
        self._events: list[Event] = []

    def feed(self, chunk: str) -> list[Event]:
        """The events of `chunk` and of what was held back before it."""
        data = self._held + chunk
        position = 0
        for tag in _TAG.finditer(data):
            self._content(data[position : tag.start()])
            self._tag(tag[0], _KINDS[tag[2].lower()], closing=bool(tag[1]))
            position = tag.end()
        certain = _certain(data, position)
        self._content(data[position:certain])
        self._held = data[certain:]
        return self._take()

    def close(self) -> list[Event]:
        """The events of what is left; an element still open is marked as cut."""
        held, self._held = self._held, ""
        # A tag cut at the token limit is markup; a lone "<" is not, except where a time was being written.
        if len(held) > 2 or held == "</" or (held and self._kind == "time"):
            self._end_cut_time()
            self._add(Event(self._kind, held))
        else:
            self._content(held)
        self._end_open()
        return self._take()

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _add(self, event: Event) -> None:
        self._events.append(event)

    def _content(self, text: str) -> None:
        if not text:
            return
        if self._kind != "time":
            self._add(Event(self._kind, text, text))
        elif len(self._time) + len(text) <= _LONGEST_TIME:
            self._time += text
        else:
            self._release_time()
            self._content(text)

    def _tag(self, raw: str, kind: Kind, closing: bool) -> None:
        if closing:
            self._closing_tag(raw, kind)
        elif kind == "time" and (self._kind == "answer" or (len(raw) == 3 and self._kind in ("caption", "think"))):
            self._add(Event(self._kind, raw))
        else:
            self._end_open()
            self._kind = kind
            if kind == "time":
                self._time_tag = raw
            else:
                self._add(Event(kind, raw, opens=True))

    def _closing_tag(self, raw: str, kind: Kind) -> None:
        if self._kind == kind == "time":
            self._end_time(raw)
        elif self._kind == kind:
            self._add(Event(kind, raw, closes=True))
            self._kind = "text"
        else:
            self._end_cut_time()
            self._add(Event(self._kind, raw))

    def _end_open(self) -> None:
        self._end_cut_time()
        if self._kind != "text":
            self._add(Event(self._kind, "", closes=True, cut=True))
            self._kind = "text"

    def _end_time(self, closing_tag: str, cut: bool = False) -> None:
        start, end = parse_range(self._time) or (None, None)
        if cut and start is None:
            self._release_time()
            return
        raw = self._time_tag + self._time + closing_tag
        self._add(Event("time", raw, self._time.strip(), opens=True, closes=True, cut=cut, start=start, end=end))
        self._kind, self._time = "text", ""

    def _end_cut_time(self) -> None:
        if self._kind == "time":
            self._end_time("", cut=True)

    def _release_time(self) -> None:
        """The open `<time>` is none: its content is free text."""
        content, self._kind, self._time = self._time, "text", ""
        self._add(Event("text", self._time_tag))
        self._content(content)


def _certain(data: str, position: int) -> int:
    """Where in data[position:] the beginning of a tag may stand at the end; len(data) if none does."""
    start = data.rfind("<", max(position, len(data) - _LONGEST_TAG + 1))
    if start >= 0 and any(tag.startswith(data[start:].lower()) for tag in _TAGS):
        return start
    return len(data)


def parse_events(text: str) -> list[Event]:
    """All events of a whole text."""
    parser = TraceParser()
    return parser.feed(text) + parser.close()
