"""The parsed trace: segments, reasoning and answer, built from the events of a model's text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vtcli.trace.format import format_ok
from vtcli.trace.parser import Event, parse_events


@dataclass(frozen=True)
class Segment:
    """One part of the video that the model cites: its times in seconds, caption and thinking ("" if missing).

    `start` and `end` are None if the model gave no readable time.
    """

    start: float | None
    end: float | None
    caption: str
    think: str

    @property
    def span(self) -> tuple[float, float] | None:
        """(start, end) in seconds; None if the model gave no readable time."""
        return None if self.start is None or self.end is None else (self.start, self.end)

    def as_json(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "caption": self.caption, "think": self.think}


@dataclass(frozen=True)
class Trace:
    """A parsed trace.

    - `segments`: in the order written. Captions and thinks belong to the last time before them.
    - `reasoning`: the text outside the tags, one line per stretch. A think before any time (Video-R1) and the content
      of a time that cannot be read also count as reasoning.
    - `answer`: the last closed answer that is not empty (the paper's evaluation takes the last, its reward the first);
      otherwise the last unclosed answer that is not empty; otherwise "". A text without any markup is all answer.
    - `text`: the raw text.
    - `format_ok`: whether the text earns the paper's format reward.
    """

    segments: tuple[Segment, ...]
    reasoning: str
    answer: str
    text: str
    format_ok: bool


def parse_trace(text: str) -> Trace:
    """Returns the trace of a complete text."""
    return build_trace(parse_events(text))


def build_trace(events: Iterable[Event]) -> Trace:
    """Returns the trace of all events of a parser, up to those of `close`."""
    builder = _Builder()
    for event in events:
        builder.add(event)
    return builder.trace()


@dataclass
class _Draft:
    start: float | None = None
    end: float | None = None
    captions: list[list[str]] = field(default_factory=list)
    thinks: list[list[str]] = field(default_factory=list)

    def segment(self) -> Segment:
        return Segment(self.start, self.end, _lines(self.captions), _lines(self.thinks))


@dataclass
class _Answer:
    parts: list[str] = field(default_factory=list)
    closed: bool = False


class _Builder:
    """Appends each event's text to the list of its element; the lists are joined once, at the end."""

    def __init__(self) -> None:
        self._raw: list[str] = []
        self._drafts: list[_Draft] = []
        self._prose: list[list[str]] = []
        self._answers: list[_Answer] = []
        self._sink: list[str] | None = None  # the list that receives the text of the current element
        self._markup = False

    def add(self, event: Event) -> None:
        self._raw.append(event.raw)
        self._markup = self._markup or event.kind != "text" or event.raw != event.text
        if event.kind == "time":
            self._drafts.append(_Draft(event.start, event.end))
            if event.start is None:
                self._prose.append([event.text])
            self._sink = None
            return
        if event.opens or self._sink is None:
            self._sink = self._new_sink(event)
        self._sink.append(event.text)
        if event.closes:
            if event.kind == "answer":
                self._answers[-1].closed = not event.cut
            self._sink = None

    def _new_sink(self, event: Event) -> list[str]:
        sink: list[str] = []
        if event.kind == "answer":
            self._answers.append(_Answer(sink))
        elif event.kind == "caption":
            if not self._drafts:
                self._drafts.append(_Draft())
            self._drafts[-1].captions.append(sink)
        elif event.kind == "think" and self._drafts:
            self._drafts[-1].thinks.append(sink)
        else:
            self._prose.append(sink)
        return sink

    def trace(self) -> Trace:
        text = "".join(self._raw)
        segments = (draft.segment() for draft in self._drafts)
        return Trace(
            # An empty element without a time is an echo of the prompt ("within `<time> </time>` … tags").
            segments=tuple(s for s in segments if s.start is not None or s.caption or s.think),
            reasoning=_lines(self._prose),
            answer=self._answer() if self._markup else text.strip(),
            text=text,
            format_ok=format_ok(text),
        )

    def _answer(self) -> str:
        given = [(answer.closed, "".join(answer.parts).strip()) for answer in self._answers]
        for wanted in (True, False):
            for closed, text in reversed(given):
                if text and closed == wanted:
                    return text
        return ""


def _lines(parts: list[list[str]]) -> str:
    return "\n".join(text for part in parts if (text := "".join(part).strip()))
