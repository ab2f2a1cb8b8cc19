"""Reads training records, with the fields of Video-Thinker-10K and Video-R1, from JSON, JSON lines or Parquet.

Nothing in a file is trusted: every record is checked, an invalid one becomes a `Problem` with its place, and no path
leads out of the folder given for its videos.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from vtcli.errors import DataError
from vtcli.scoring.elements import contents
from vtcli.scoring.gold import resolve
from vtcli.scoring.rewards import PROBLEM_TYPES
from vtcli.scoring.rules import number
from vtcli.trace.text import sanitise_line
from vtcli.trace.times import parse_range
from vtcli.video.source import is_address

#: Video-R1's kinds, questions whose answer is a span of time, and questions whose answer must match exactly.
KINDS = (*PROBLEM_TYPES, "temporal grounding", "exact")
SUFFIXES = (".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Record:
    """One question with its answer.

    place: file and number, for messages. options: texts without letters. process: the trace to learn in SFT, "" if
    there is none. answer: the contents of the solution's `<answer>`. videos, pictures: files; of one kind only, or
    none. spans: true spans of time, in seconds.
    """

    place: str
    problem: str
    kind: str
    answer: str
    options: tuple[str, ...] = ()
    process: str = ""
    videos: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()
    source: str = ""
    spans: tuple[tuple[float, float], ...] = ()

    @property
    def shown(self) -> tuple[Path, ...]:
        """The files that the question is about."""
        return self.videos or self.pictures

    @property
    def solution(self) -> str:
        """The solution as the paper's files write it."""
        return f"<answer>{self.answer}</answer>"


@dataclass(frozen=True)
class Problem:
    """Why a record is not trained on. `kind` groups problems in the summary."""

    place: str
    kind: str
    message: str

    def __str__(self) -> str:
        return sanitise_line(f"{self.place}: {self.message}")


@dataclass
class Read:
    """The contents of files: records that may be used, and problems of the others."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Records in the files, usable or not."""
        return len(self.records) + len(self.problems)


class _BadError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        self.kind, self.message = kind, message


def shown_files(records: Iterable[Record]) -> list[tuple[Path, bool]]:
    """Lists the files that all records are about, each once, with whether it is a picture."""
    return list(dict.fromkeys((file, bool(record.pictures)) for record in records for file in record.shown))


def read_records(files: Sequence[str | Path], roots: Mapping[str, str] | None = None) -> Read:
    """Reads the records of all `files`; `roots` maps a data_source to the folder of its videos, "" for any other.

    Raises DataError for a file that is missing or of another kind.
    """
    read, folders = Read(), roots or {}
    for source in folders.values():
        if not Path(source).expanduser().is_dir():
            raise DataError(f"no such folder of videos: {source}")
    for name in files:
        file = Path(name).expanduser()
        for line, values in enumerate(_rows(file), 1):
            place = f"{file.name}:{line}"
            try:
                read.records.append(_record(values, place, file.parent, folders))
            except _BadError as bad:
                read.problems.append(Problem(place, bad.kind, bad.message))
    return read


def _rows(file: Path) -> Iterator[Any]:
    """Yields the raw records of a file; a line that is not JSON is yielded as text."""
    if file.suffix not in SUFFIXES:
        raise DataError(f"{file}: training data are {', '.join(SUFFIXES)} files")
    if not file.is_file():
        raise DataError(f"no such file of training data: {file}")
    try:
        if file.suffix == ".parquet":
            yield from _parquet(file)
        elif file.suffix == ".jsonl":
            with file.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.strip():
                        yield _json(line)
        else:
            rows = json.loads(file.read_bytes())
            if not isinstance(rows, list):
                raise DataError(f"{file} holds no list of records")
            yield from rows
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read: it is no {file.suffix} file, or was cut short") from error


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _parquet(file: Path) -> Iterator[Any]:
    from vtcli.install import require

    require("reading Parquet files", "train", "pyarrow")
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _record(values: Any, place: str, folder: Path, roots: Mapping[str, str]) -> Record:
    if not isinstance(values, Mapping):
        raise _BadError("fields", "is no JSON object")
    kind = _text(values, "problem_type", "multiple choice" if values.get("options") else "free-form")
    if kind not in KINDS:
        raise _BadError("fields", f"problem_type {kind!r} is none of {', '.join(KINDS)}")
    shown = _text(values, "data_type", "video" if values.get("path") else "text")
    if shown not in ("video", "image", "text"):
        raise _BadError("fields", f"data_type {shown!r} is none of video, image, text")
    source = _text(values, "data_source", "")
    files = tuple(_files(values.get("path"), shown, folder, source, roots))
    answer, options = _answer(_text(values, "solution"), _options(values.get("options"), kind), kind)
    return Record(
        place=place,
        problem=_text(values, "problem"),
        kind=kind,
        answer=answer,
        options=options,
        process=_text(values, "process", ""),
        videos=files if shown == "video" else (),
        pictures=files if shown == "image" else (),
        source=source,
        spans=_spans(values.get("times"), answer if kind == "temporal grounding" else ""),
    )


def _text(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = values.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise _BadError("fields", f"{name} is missing" if value in (None, "") else f"{name} is no text")
    if re.search("[\ud800-\udfff]", value):
        raise _BadError("fields", f"{name} is no valid Unicode")
    return value


def _options(values: Any, kind: str) -> list[str]:
    if kind != "multiple choice":
        return []
    if isinstance(values, Mapping):
        values = [f"{letter}. {text}" for letter, text in values.items()]
    if not isinstance(values, list) or not all(isinstance(each, str) and each.strip() for each in values):
        raise _BadError("fields", "options are no list of texts")
    if not 2 <= len(values) <= len(ascii_uppercase):
        raise _BadError("fields", f"{len(values)} options: there must be 2 to {len(ascii_uppercase)}")
    return values


def _answer(solution: str, options: Sequence[str], kind: str) -> tuple[str, tuple[str, ...]]:
    """Returns the contents of `<answer>`, for multiple choice the letter, and the options' texts without letters."""
    if options:
        try:
            gold = resolve(solution, options)
        except DataError as error:
            raise _BadError("answer", str(error)) from None
        return str(gold), gold.options
    found = contents(solution)
    answer = found[0] if found else solution.strip()
    if not answer:
        raise _BadError("answer", "the solution is empty")
    if kind in ("numerical", "regression") and number(answer) is None:
        raise _BadError("answer", f"the solution {answer[:40]!r} is no number")
    return answer, ()


def _files(path: Any, shown: str, folder: Path, source: str, roots: Mapping[str, str]) -> Iterator[Path]:
    if shown == "text":
        return
    names = [path] if isinstance(path, str) else path
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise _BadError("fields", "path is missing")
    base = Path(roots.get(source, roots.get("", str(folder)))).expanduser()
    for name in names:
        yield base / _inside(name)


def _inside(name: str) -> str:
    """Returns `name` normalised below its root. Raises _BadError for a path that would lead out of it."""
    if is_address(name) or re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE):
        raise _BadError("path", "path is an address; training reads files only")
    plain = posixpath.normpath(name.replace("\\", "/"))
    if "\0" in name or plain.startswith(("/", "../")) or plain in (".", "..") or re.match(r"[A-Za-z]:", plain):
        raise _BadError("path", f"path {name[:60]!r} leads out of its folder; name a root with --root")
    return plain


def _spans(times: Any, answer: str) -> tuple[tuple[float, float], ...]:
    """Returns the true spans: the field `times`, [[start, end], …] in seconds, or the one that an answer names."""
    if times is None:
        named = parse_range(answer)
        found = [named] if named else []
    else:
        try:
            found = [(float(start), float(end)) for start, end in times]
        except (TypeError, ValueError):
            raise _BadError("fields", "times are no list of [start, end] in seconds") from None
    if not all(0 <= start <= end < float("inf") for start, end in found) or (answer and not found):
        raise _BadError("answer", "the solution names no stretch of time, such as 12.5-20")
    return tuple(found)
