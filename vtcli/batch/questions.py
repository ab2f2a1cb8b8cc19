"""Reads question files: CSV, TSV or JSON lines with the questions to ask about each video.

Columns: `question`; `video`, unless the questions are asked of every SOURCE; `choices` (or `options`), a list, in CSV
as JSON or separated by |; `id`; `start` and `end`, in seconds. All other columns go into the output's `extra`.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vtcli.ask import Question
from vtcli.batch.items import Item, content_id
from vtcli.errors import UsageError
from vtcli.video.sampling import FrameRequest, check_request
from vtcli.video.source import STDIN
from vtcli.video.text import shown

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_KNOWN = ("video", "question", "choices", "options", "id", "start", "end")
_LONGEST_CELL = 1 << 24  # characters


@dataclass(frozen=True)
class Asked:
    """A question about one video, or about every video (`video` is None). `where`: its place, for messages."""

    question: str
    choices: tuple[str, ...] = ()
    video: str | None = None
    id: str | None = None
    start: float | None = None
    end: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def read_questions(path: Path) -> list[Asked]:
    """Returns the questions of a file, in its order. Raises UsageError that names the faulty line and column."""
    suffix = path.suffix.lower()
    if suffix not in _DELIMITERS and suffix not in _JSON_LINES:
        raise UsageError(f"{shown(path)}: questions are read from .csv, .tsv and .jsonl files")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _json_rows(file, path) if suffix in _JSON_LINES else _csv_rows(file, _DELIMITERS[suffix], path)
            asked = [_asked(row, where) for where, row in rows]
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown(path)} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    if not asked:
        raise UsageError(f"{shown(path)} holds no question")
    return asked


def make_items(asked: Sequence[Asked], videos: Sequence[str], base: Question) -> tuple[list[Item], int]:
    """Returns an item per question, made by filling the question into `base`, and how many duplicates were left out.

    Questions that name no video are asked of all `videos`, video by video. Raises UsageError for a question that cannot
    be asked, and where two questions have the same id.
    """
    items: dict[str, Item] = {}
    again = 0
    for each, video in _pairs(asked, videos):
        if video == STDIN:
            raise UsageError(f"{each.where}: a run takes no video from standard input: name a file")
        question = replace(base, video=video, question=each.question, choices=each.choices)
        question = replace(
            question,
            start=base.start if each.start is None else each.start,
            end=base.end if each.end is None else each.end,
        )
        try:
            question.wording()
            if each.start is not None or each.end is not None:
                check_request(FrameRequest(start=question.start, end=question.end))
        except UsageError as error:
            raise UsageError(f"{each.where}: {error}" if each.where else str(error)) from None
        item = Item(each.id or content_id(question), question, each.extra)
        known = items.setdefault(item.id, item)
        if known is not item:
            if known.question != item.question:
                raise UsageError(f"{each.where}: another question has the id {shown(item.id)}: give each its own")
            again += 1
    return list(items.values()), again


def _pairs(asked: Sequence[Asked], videos: Sequence[str]) -> Iterator[tuple[Asked, str]]:
    named = [each for each in asked if each.video is not None]
    if not named:
        asked = [_of_any_video(each) for each in asked]
        for video in videos:
            for each in asked:
                yield each, video
        return
    if videos:
        raise UsageError(f"{named[0].where}: the questions name their videos: give no SOURCE beside them")
    for each in asked:
        if each.video is None:
            raise UsageError(f"{each.where}: no video; other lines name theirs")
        yield each, each.video


def _of_any_video(asked: Asked) -> Asked:
    """Moves the question's id to `extra`: asked of several videos, the id does not identify one item."""
    return replace(asked, id=None, extra={"id": asked.id, **asked.extra}) if asked.id else asked


def _json_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{shown(path)}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UsageError(f"{where} is no JSON object")
        yield where, {key: value for key, value in row.items() if value is not None}


def _csv_rows(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if "question" not in header:
            raise UsageError(f"{shown(path)}: its first line names no column question")
        if len(set(header)) < len(header):
            raise UsageError(f"{shown(path)}: two columns have the same name")
        for cells in reader:
            where = f"{shown(path)}, line {reader.line_num}"
            if not any(cells):
                continue
            if len(cells) > len(header):
                raise UsageError(f"{where} has {len(cells)} cells, the header has {len(header)}")
            yield where, {name: cell for name, cell in zip(header, cells, strict=False) if cell}
    except csv.Error as error:
        raise UsageError(f"{shown(path)}, line {reader.line_num}: {error}") from error


def _asked(row: Mapping[str, Any], where: str) -> Asked:
    if "choices" in row and "options" in row:
        raise UsageError(f"{where}: choices and options are two names of one column: give one")
    id = row.get("id")
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if id is not None and (not isinstance(id, str) or not id):
        raise UsageError(f"{where}: id is text or a whole number")
    return Asked(
        question=_text(row.get("question"), "question", where),
        choices=_choices(row.get("choices", row.get("options")), where),
        video=os.path.expanduser(_text(row["video"], "video", where)) if "video" in row else None,
        id=id,
        start=_seconds(row.get("start"), "start", where),
        end=_seconds(row.get("end"), "end", where),
        extra=_extra(row, where),
        where=where,
    )


def _extra(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the other columns. Raises UsageError for numbers that the output, which is JSON, cannot hold."""
    extra = {key: value for key, value in row.items() if key not in _KNOWN}
    for name, value in extra.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise UsageError(
                f"{where}: {shown(name)} holds NaN or an infinite number, which JSON cannot hold"
            ) from None
    return extra


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: {'no' if value is None else 'this is no'} {name}")
    if "\0" in value:
        raise UsageError(f"{where}: {name} holds a NUL")
    return value


def _choices(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split("|")]
        except (ValueError, RecursionError):
            raise UsageError(f"{where}: choices begin with [ and are no JSON list") from None
    if isinstance(value, dict):
        if list(value) != list(ascii_uppercase[: len(value)]):
            raise UsageError(f"{where}: choices by letter are A, B, C …, in this order")
        value = list(value.values())
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"{where}: choices are a list of texts")
    return tuple(value)


def _seconds(value: object, name: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"{where}: {name} is a number of seconds, not {shown(str(value))}")
    return seconds
