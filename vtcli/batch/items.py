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
    """One question about one video. `id` names it in every run; `extra` goes into its line as it is (JSON)."""

    id: str
    question: Question
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """Items about the same frames, which are read once."""

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
    """An id made of what is asked about which video: the same in every run, another where either changes."""
    facts = (str(question.video), question.question, question.choices, question.start, question.end)
    return digest(facts)


def digest(value: object) -> str:
    """16 hex digits of a value that JSON can hold. File names that are not UTF-8 have theirs too."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_DIGITS]


def settings_of(item: Item, weights: str, engine: str, style: str) -> dict[str, Any]:
    """What, besides question and video, decides the answer. `weights`: the model's fingerprint; `style`: its prompt's.

    The device is not among them: a run may go on on another machine, and each line says where it was answered.
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
    """The settings of each item; those that are equal are one object."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    of = {}
    for item in items:
        settings = settings_of(item, weights, engine, style)
        of[item.id] = known.setdefault(tuple(settings.values()), settings)
    return of


def video_name(item: Item) -> str:
    """The video's name as records have it: of an address, without its secrets."""
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
    """The items in the order they are asked: as given, but all about one video, and of these all of one clip, in a row.

    So a video is read once for every choice of frames, and what a model has computed of it serves all its questions.
    """
    videos: dict[str, dict[object, list[Item]]] = {}
    for item in items:
        asked = item.question
        frames = (asked.frames, asked.fps, asked.start, asked.end, asked.max_pixels)
        reading = (asked.stream, asked.reader, asked.read_timeout)
        videos.setdefault(str(asked.video), {}).setdefault((frames, reading), []).append(item)
    return [Clip(tuple(clip)) for clips in videos.values() for clip in clips.values()]


def share(items: Sequence[Item], shard: Shard | None) -> list[Item]:
    """The items of one part, in their order; all items about a video are of the same part."""
    if shard is None:
        return list(items)
    numbers: dict[str, int] = {}
    for item in items:
        numbers.setdefault(str(item.question.video), len(numbers))
    return [i for i in items if numbers[str(i.question.video)] % shard.count == shard.index - 1]
