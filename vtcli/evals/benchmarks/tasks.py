"""What a benchmark asks, and how its files are read: each record with its place, each missing field by its name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtcli.errors import DataError
from vtcli.evals.predictions import spans
from vtcli.scoring.gold import Form, Gold, resolve
from vtcli.scoring.spans import Span
from vtcli.video.text import shown

LARGEST = 1 << 30
"""Bytes of an annotation file."""


@dataclass(frozen=True)
class Task:
    """One question of a benchmark.

    `video` is the path the annotations give, with or without folder and suffix. `start` and `end` bound what is shown
    (seconds). `times` are the true spans of a grounding task, in seconds of the file. `categories` are what results are
    broken down by. `context` is what only the official prompt shows (VRBench's summary). `captions`: references of a
    captioning task.
    """

    id: str
    video: str
    question: str
    gold: Gold
    categories: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    times: tuple[Span, ...] = ()
    context: str = ""
    captions: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Row:
    """One record of a file; its fields are read by name, and what is wrong is said with `where` it stands."""

    data: Mapping[str, Any]
    where: str

    def fail(self, message: str) -> DataError:
        return DataError(f"{self.where}: {message}")

    def get(self, name: str) -> Any:
        if name not in self.data:
            raise self.fail(f"the field '{name}' is missing: these are other annotations, or another version of them")
        return self.data[name]

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise self.fail(f"the field '{name}' is no text")
        return str(value)

    def number(self, name: str) -> float:
        value = self.get(name)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self.fail(f"the field '{name}' is no number") from None

    def optional(self, name: str) -> float | None:
        return None if self.data.get(name) in (None, "") else self.number(name)

    def texts(self, name: str) -> list[str]:
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.fail(f"the field '{name}' is no list of texts")
        return value

    def rows(self, name: str) -> list[Row]:
        value = self.get(name)
        if isinstance(value, Mapping):
            return [self._row(each, f"'{name}' {shown(str(key))}") for key, each in value.items()]
        if isinstance(value, list):
            return [self._row(each, f"'{name}' {number}") for number, each in enumerate(value, 1)]
        raise self.fail(f"the field '{name}' is no list of records")

    def spans(self, name: str) -> tuple[Span, ...]:
        try:
            return spans(self.get(name))
        except DataError:
            raise self.fail(f"the field '{name}' is no list of [start, end] in seconds") from None

    def gold(
        self, answer: object, options: Sequence[str] | Mapping[str, str] = (), form: Form = "any", several: bool = False
    ) -> Gold:
        try:
            return resolve(answer, options, form, several)
        except DataError as error:
            raise self.fail(str(error)) from None

    def _row(self, value: object, where: str) -> Row:
        if not isinstance(value, Mapping):
            raise self.fail(f"{where} is no record")
        return Row(value, f"{self.where}, {where}")


def json_value(path: Path) -> Any:
    """What a JSON file holds. Raises DataError."""
    data = _content(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{shown(path)} is not JSON{place}: download it again, or mend it") from None


def json_rows(path: Path) -> list[Row]:
    """The records of a JSON list, of JSON lines, or of the one list in a JSON object ("data", "questions")."""
    if path.suffix == ".jsonl":
        return list(_line_rows(path))
    value = json_value(path)
    if isinstance(value, Mapping):
        lists = [each for each in value.values() if isinstance(each, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise DataError(f"{shown(path)} is no list of records: these are other annotations, or another version of them")
    return [_row(each, f"{shown(path)}, record {number}") for number, each in enumerate(value, 1)]


def csv_rows(path: Path) -> list[Row]:
    """The records of a CSV file with a first line of names. Raises DataError."""
    try:
        text = _content(path).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return [Row(row, f"{shown(path)}, line {number}") for number, row in enumerate(rows, 2)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)} is not CSV in UTF-8: {error}") from None


def once(tasks: Iterable[Task]) -> list[Task]:
    """The tasks, no two with the same id. Raises DataError."""
    found: dict[str, Task] = {}
    for task in tasks:
        if task.id in found:
            raise DataError(f"the annotations hold two questions with the id {shown(task.id)}: one must go")
        found[task.id] = task
    return list(found.values())


def _line_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_content(path).splitlines(), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                raise DataError(f"{shown(path)}, line {number} is not JSON: download it again, or mend it") from None
            yield _row(value, f"{shown(path)}, line {number}")


def _row(value: object, where: str) -> Row:
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is no record")
    return Row(value, where)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{shown(path)} is larger than {LARGEST >> 30} GiB: these are no annotations")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
