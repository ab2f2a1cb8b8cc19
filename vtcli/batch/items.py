"""What a run is made of: items, the settings that decide their answers, and the clips they share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from vtcli.ask import Question
from vtcli.errors import UsageError
from vtcli.video.source import is_address
from vtcli.video.text import shown

_DIGITS = 16


@dataclass(frozen=True)
class Item:
    """One question about one video.

    `id` identifies the item in every run; `extra` is copied unchanged into its output line (JSON).
    """

    id: str
    question: Question
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """Items about the same frames; the frames are read once."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a run; `index` counts from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"--shard {self.index}/{self.count}: the first of two parts is 1/2, the last is 2/2")


def content_id(question: Question) -> str:
    """Returns an id derived from the video, question, choices and time range: equal for equal content in every run."""
    facts = (str(question.video), question.question, question.choices, question.start, question.end)
    return digest(facts)


def digest(value: object) -> str:
    """Returns a hash, 16 hex digits, of a value that JSON can hold. File names that are not UTF-8 are accepted."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_DIGITS]


def settings_of(item: Item, weights: str, engine: str, style: str) -> dict[str, Any]:
    """Returns the settings that, besides question and video, decide the answer.

    `weights`: the model's fingerprint; `style`: the style of its prompt. The device is not included: a run may continue
    on another machine, and each line records where it was answered.
    """
    asked, sampling = item.question, item.question.sampling
    return {
        "weights": weights,
        "engine": engine,
        "frames": asked.frames,
        "fps": asked.fps,
        "start": asked.start,
        "end": asked.end,
        "max_pixels": asked.max_pixels,
        "stream": asked.stream,
        "reader": asked.reader,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "prompt": digest(astuple(asked.prompt)) if asked.prompt else style,
    }


def settings_by_id(items: Iterable[Item], weights: str, engine: str, style: str) -> dict[str, dict[str, Any]]:
    """Returns the settings of each item by id; equal settings share one object."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    of = {}
    for item in items:
        settings = settings_of(item, weights, engine, style)
        of[item.id] = known.setdefault(tuple(settings.values()), settings)
    return of


def video_name(item: Item) -> str:
    """Returns the video's name as it appears in records; an address appears without its secrets."""
    name = str(item.question.video)
    if not is_address(name):
        return name
    from vtcli.video.remote import without_secrets

    return without_secrets(name)


def check_ids(items: Iterable[Item]) -> None:
    """Raises UsageError where two items have the same id."""
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise UsageError(f"two items have the id {shown(item.id)}: an id names one question about one video")
        seen.add(item.id)


def in_turn(items: Sequence[Item]) -> list[Clip]:
    """Returns the items in the order they are asked: as given, but grouped by video and, within a video, by clip.

    A video is thus read once per choice of frames, and the model's results for those frames serve all their questions.
    """
    videos: dict[str, dict[object, list[Item]]] = {}
    for item in items:
        asked = item.question
        frames = (asked.frames, asked.fps, asked.start, asked.end, asked.max_pixels)
        reading = (asked.stream, asked.reader, asked.read_timeout)
        videos.setdefault(str(asked.video), {}).setdefault((frames, reading), []).append(item)
    return [Clip(tuple(clip)) for clips in videos.values() for clip in clips.values()]


def share(items: Sequence[Item], shard: Shard | None) -> list[Item]:
    """Returns the items of one shard, in their order; all items about a video belong to the same shard."""
    if shard is None:
        return list(items)
    numbers: dict[str, int] = {}
    for item in items:
        numbers.setdefault(str(item.question.video), len(numbers))
    return [i for i in items if numbers[str(i.question.video)] % shard.count == shard.index - 1]
