"""The questions of a benchmark and the readers of its files, whose errors name the record and the field."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtcli.errors import DataError
from vtcli.evals.predictions import spans
from vtcli.install import require
from vtcli.scoring.gold import Form, Gold, resolve
from vtcli.scoring.spans import Span
from vtcli.video.text import shown

LARGEST = 1 << 30
"""Limit in bytes on an annotation file, and on its unpacked content."""
_TOO_LARGE = f"{{}} is larger than {LARGEST >> 30} GiB: these are no annotations"
_AT_ONCE = 256  # rows of Parquet per batch: a small file can unpack to any size


@dataclass(frozen=True)
class Task:
    """One question of a benchmark.

    `video` is the path the annotations give, with or without folder and suffix. `start` and `end` bound what is shown
    (seconds). `times` are the true spans of a grounding task, in seconds of the file. `categories` are what results are
    broken down by. `context` is used by the official prompt only (VRBench's summary, Video-MMMU's track). `captions`:
    references of a captioning task. `rate`: pictures per second, if the video may be a folder of pictures.
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
    rate: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(dict.fromkeys(self.categories)))  # each counts once


@dataclass(frozen=True)
class Row:
    """One record of a file. Its fields are read by name; errors begin with `where` the record is."""

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
        try:
            number = float(self.get(name))
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.fail(f"the field '{name}' is no number")
        return number

    def optional(self, name: str) -> float | None:
        return None if self.data.get(name) in (None, "") else self.number(name)

    def part(self) -> tuple[float | None, float | None]:
        """Returns the segment that the optional fields 'start' and 'end' give."""
        return self.segment(self.optional("start"), self.optional("end"))

    def segment(self, start: float | None, end: float | None) -> tuple[float | None, float | None]:
        """Returns what is shown of the video, in seconds. Raises DataError unless it ends after it starts."""
        for name, value in (("start", start), ("end", end)):
            if value is not None and value < 0:
                raise self.fail(f"the field '{name}' is below 0")
        if end is not None and end <= (start or 0):
            raise self.fail(f"the segment must end after it starts, not {start or 0:g} to {end:g} s")
        return start, end

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
    """Returns the content of a JSON file. Raises DataError."""
    data = _content(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{shown(path)} is not JSON{place}: download it again, or mend it") from None


def records(path: Path) -> list[Row]:
    """Returns the records of an annotation file: by its suffix JSON lines, CSV with a header, Parquet, or else JSON.

    JSON is a list of records, an object with a single list ("data", "questions"), or an object that is one record.
    Raises DataError.
    """
    kinds = {".jsonl": _line_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    return list(kinds.get(path.suffix.lower(), _json_rows)(path))


def _json_rows(path: Path) -> Iterator[Row]:
    value = json_value(path)
    if isinstance(value, Mapping):
        lists = [each for each in value.values() if isinstance(each, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise DataError(f"{shown(path)} is no list of records: these are other annotations, or another version of them")
    for number, each in enumerate(value, 1):
        yield _row(each, f"{shown(path)}, record {number}")


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        text = _content(path).decode("utf-8-sig")
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), 2):
            yield Row(row, f"{shown(path)}, line {number}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)} is not CSV in UTF-8: {error}") from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    """Yields rows without file columns (images, audio), which the hub's data sets store as bytes beside a name."""
    require("reading Parquet files", "eval", "pyarrow")
    from pyarrow import ArrowException, types
    from pyarrow.parquet import ParquetFile

    _check_size(path)
    number = held = 0
    try:
        with ParquetFile(path) as file:
            fields = file.schema_arrow
            names = [each.name for each in fields if not (types.is_struct(each.type) and _holds_bytes(each.type))]
            for batch in file.iter_batches(_AT_ONCE, columns=names):
                held += batch.nbytes
                if held > LARGEST:
                    raise DataError(_TOO_LARGE.format(shown(path)))
                for row in batch.to_pylist():
                    number += 1
                    yield Row(row, f"{shown(path)}, record {number}")
    except (ArrowException, OSError, ValueError):
        raise DataError(f"{shown(path)} is not Parquet, or was cut short: download it again") from None


def _holds_bytes(struct: Any) -> bool:
    from pyarrow import types

    return any(types.is_binary(field.type) or types.is_large_binary(field.type) for field in struct)


def once(tasks: Iterable[Task]) -> list[Task]:
    """Returns the tasks. Raises DataError if two have the same id."""
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
    _check_size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None


def _check_size(path: Path) -> None:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(_TOO_LARGE.format(shown(path)))
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
