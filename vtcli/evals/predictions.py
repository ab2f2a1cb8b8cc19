"""Predictions as `vt eval score` reads them: JSON lines, plain or gzipped, from any tool."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from vtcli.errors import DataError
from vtcli.scoring.gold import Gold, resolve
from vtcli.scoring.spans import Span
from vtcli.video.text import shown

LONGEST_LINE = 1 << 26
"""Limit on a line in bytes; a longer line ends the reading, so a file without line breaks cannot fill the memory."""

_MOST = sys.float_info.max  # an int may be larger, NaN compares false


@dataclass(frozen=True, slots=True)
class Prediction:
    """One reply and its truth.

    `response` is the raw output, None where there was none. `times`: true spans in seconds, () where there are none.
    `sample` counts the replies to one question, from 0. `video` groups questions that are not independent.
    """

    id: str
    response: str | None
    gold: Gold
    categories: tuple[str, ...] = ()
    times: tuple[Span, ...] = ()
    sample: int = 0
    video: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A line that is not a prediction: its number, its id if that can be read, and what is wrong with it."""

    line: int
    id: str | None
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"line": self.line, "id": self.id, "message": self.message}

    def __str__(self) -> str:
        return f"line {self.line}{f' (id {self.id})' if self.id is not None else ''}: {self.message}"


def read_predictions(path: Path) -> Iterator[Prediction | Trouble]:
    """Yields the predictions of a file ("-": standard input) in order, with a Trouble in place of each unusable line.

    Raises DataError for an unreadable file.
    """
    for number, line in _lines(path):
        if line is None:
            yield Trouble(number, None, "the file is cut off or damaged here; what comes before it counts")
            return
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            yield Trouble(number, None, "it is not JSON (cut off, or not one object a line)")
            continue
        try:
            yield prediction(record)
        except DataError as error:
            yield Trouble(number, _id_of(record), str(error))


def prediction(record: object) -> Prediction:
    """Parses one record (id, response, answer, form, options, category, times, sample, video: docs/eval.md).

    Raises DataError.
    """
    if not isinstance(record, dict):
        raise DataError("it is no JSON object")
    for name in ("id", "response", "answer"):
        if name not in record:
            raise DataError(f"the field '{name}' is missing")
    id = _id_of(record)
    if id is None:
        raise DataError("the field 'id' is no text or number")
    response = record["response"]
    if not isinstance(response, str | None):
        raise DataError("the field 'response' is no text")
    options = record.get("options") or ()
    if not isinstance(options, list | tuple | dict):
        raise DataError("the field 'options' is no list of texts")
    answer, form = record["answer"], record.get("form", "any")
    if form not in ("any", "letter", "text"):
        raise DataError("the field 'form' is neither 'letter' nor 'text'")
    gold = resolve(answer, options, form, several=isinstance(answer, list))
    sample, video = record.get("sample", 0), record.get("video")
    if type(sample) is not int or sample < 0:
        raise DataError("the field 'sample' is no count from 0")
    if not isinstance(video, str | None):
        raise DataError("the field 'video' is no text")
    categories, times = _categories(record.get("category")), spans(record.get("times"))
    return Prediction(id, response, gold, categories, times, sample, video)


def spans(value: object) -> tuple[Span, ...]:
    """Parses `[[start, end], …]`, in seconds; () for None. Raises DataError."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise DataError("the field 'times' is no list of [start, end]")
    found = []
    for pair in value:
        numbers = isinstance(pair, list | tuple) and [n for n in pair if type(n) in (int, float) and abs(n) <= _MOST]
        if not numbers or len(numbers) != 2 or len(pair) != 2:
            raise DataError("the field 'times' is no list of [start, end] in seconds")
        if numbers[0] > numbers[1]:
            raise DataError(f"the field 'times' has a span that ends before it starts: {numbers}")
        found.append((float(numbers[0]), float(numbers[1])))
    return tuple(found)


def _categories(value: object) -> tuple[str, ...]:
    """Parses one category or several: LVBench counts a question in each of its types."""
    if isinstance(value, str):
        return (value,)
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(each, str | int | float) for each in values):
        raise DataError("the field 'category' is no text")
    return tuple(dict.fromkeys(str(each) for each in values))


def _id_of(record: object) -> str | None:
    id = record.get("id") if isinstance(record, dict) else None
    return str(id) if isinstance(id, str | int | float) and not isinstance(id, bool) else None


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yields the non-blank lines with their numbers, and None where a gzip stream breaks off. Raises DataError."""
    number = 0
    try:
        with ExitStack() as stack:
            file = sys.stdin.buffer if str(path) == "-" else stack.enter_context(open(path, "rb", buffering=1 << 20))
            stream: BinaryIO = file
            if cast(io.BufferedReader, file).peek(2)[:2] == b"\x1f\x8b":
                stream = cast(BinaryIO, stack.enter_context(gzip.open(file)))
            while line := stream.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise DataError(f"{shown(path)}, line {number} is longer than {LONGEST_LINE >> 20} MiB")
                if line.strip():
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except FileNotFoundError:
        raise DataError(f"no such file: {shown(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{shown(path)} is a folder: give the file of predictions, e.g. predictions.jsonl") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield number + 1, None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
