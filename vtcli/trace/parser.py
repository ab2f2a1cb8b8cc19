"""Parse model text into events as it arrives: free text, `<time>`, `<caption>`, `<think>` and `<answer>`.

The concatenated `raw` of all events equals the input exactly, however the stream was split and however broken the
markup is. Rules for broken markup (as in outputs of Video-Thinker, Qwen2.5-VL, Video-R1 and others):

- Names are case-insensitive. `<thinking>` is `<think>`. Open-o3-Video's `<t>` is a time outside the other elements.
- An opening tag ends the open element, which then counts as unclosed. Exception: a time inside an answer, and `<t>`
  inside a caption or think, are inline; their tags are markup, and their content belongs to the enclosing element.
- A closing tag without a matching open element is markup without effect.
- A `<time>` that no tag ends within 64 characters is free text, not a time.
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
    """One part of the stream.

    - `raw`: its exact characters.
    - `text`: the content among them ("" for a tag; for a time, the trimmed text between its tags).
    - `opens`/`closes`: a caption, think or answer begins or ends here. The text between arrives in separate events.
    - `cut`: the element ended without its closing tag.
    - `start`/`end`: the seconds of a readable time.
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
    """Incremental parser. `feed` each piece of text, then `close` once; both return the events that are now certain.

    Only a possible beginning of a tag (at most 10 characters) and an open `<time>` are held back.
    """

    def __init__(self) -> None:
        self._kind: Kind = "text"
        self._held = ""  # a possible beginning of a tag
        self._time_tag = ""
        self._time = ""  # the content of the open <time>, at most _LONGEST_TIME characters
        self._events: list[Event] = []

    def feed(self, chunk: str) -> list[Event]:
        """Returns the events of `chunk` and of the text held back before it."""
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
        """Returns the events of the remaining text; marks an element that is still open as cut."""
        held, self._held = self._held, ""
        # A tag cut at the token limit is markup; a lone "<" is markup only inside an open time.
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
        """Treats the open `<time>` as free text."""
        content, self._kind, self._time = self._time, "text", ""
        self._add(Event("text", self._time_tag))
        self._content(content)


def _certain(data: str, position: int) -> int:
    """Returns the index in data[position:] of a possible partial tag at the end; len(data) if there is none."""
    start = data.rfind("<", max(position, len(data) - _LONGEST_TAG + 1))
    if start >= 0 and any(tag.startswith(data[start:].lower()) for tag in _TAGS):
        return start
    return len(data)


def parse_events(text: str) -> list[Event]:
    """Returns all events of a complete text."""
    parser = TraceParser()
    return parser.feed(text) + parser.close()
