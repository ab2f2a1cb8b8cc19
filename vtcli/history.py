"""The history of questions and answers on this machine: the records of `vt ask` and `vt chat`, in one SQLite file.

Only the file's owner can read it. The number of records is bounded, and only `vt history` reads the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.errors import VtError
from vtcli.trace.text import dump_json
from vtcli.video.text import shown

KEPT = 10_000
"""Number of answers kept; the oldest are deleted first. One answer takes about 4 kB."""
_WAIT = 5.0  # seconds to wait while another process writes
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    folder TEXT NOT NULL,
    record TEXT NOT NULL,
    words TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Entry:
    """One answer: its number, its time (seconds since 1970), the working folder ("": removed), and its record."""

    id: int
    time: float
    folder: str
    record: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns the fields that a listing shows."""
        record = self.record
        facts = {"video": record["video"]["path"], "question": record["question"], "answer": record["answer"]}
        return {"id": self.id, "time": round(self.time, 3), "folder": self.folder, **facts, "choice": record["choice"]}


class History:
    """The history in `file`, created when the first answer is added. Raises VtError if the file cannot be used."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record, and deletes the oldest beyond `KEPT`."""
        text = " ".join(str(record[key] or "") for key in ("question", "answer", "text"))
        words = f"{record['video']['path']} {text}".casefold().encode("utf-8", "replace").decode()
        with self._open(make=True) as base:
            row = (time.time(), _working_folder(), dump_json(record), words)
            base.execute("INSERT INTO answers (time, folder, record, words) VALUES (?, ?, ?, ?)", row)
            base.execute("DELETE FROM answers WHERE id <= (SELECT MAX(id) FROM answers) - ?", (KEPT,))

    def latest(self, count: int) -> list[Entry]:
        """Returns the last `count` answers, oldest first."""
        return self._select("ORDER BY id DESC LIMIT ?", (count,))[::-1]

    def search(self, words: Sequence[str], count: int) -> list[Entry]:
        """Returns the last `count` answers that contain all of `words`, ignoring case, oldest first.

        The path of the video, the question, the answer and the text are searched together.
        """
        holds = " AND ".join("instr(words, ?)" for _ in words)
        values = [word.casefold().encode("utf-8", "replace").decode() for word in words]
        return self._select(f"WHERE {holds} ORDER BY id DESC LIMIT ?", (*values, count))[::-1]

    def get(self, id: int | None = None) -> Entry:
        """Returns one answer, by default the last. Raises VtError if no answer has that number."""
        found = self.latest(1) if id is None else self._select("WHERE id = ?", (id,))
        if not found:
            raise VtError("the history is empty" if id is None else f"the history has no answer {id}: see vt history")
        return found[0]

    def clear(self) -> int:
        """Deletes all answers; returns their number."""
        with self._open() as base:
            count = base.execute("DELETE FROM answers").rowcount if base else 0
        if count:
            with self._open() as base:
                base.execute("VACUUM")  # removes the deleted content from the file
        return count

    def _select(self, rest: str, values: Sequence[object]) -> list[Entry]:
        with self._open() as base:
            if base is None:
                return []
            rows = base.execute(f"SELECT id, time, folder, record FROM answers {rest}", values).fetchall()
        return [Entry(id, when, folder, json.loads(record)) for id, when, folder, record in rows]

    @contextmanager
    def _open(self, make: bool = False) -> Iterator[Any]:
        """Opens the database; yields None if the file does not exist and `make` is False."""
        try:
            if make:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.file, os.O_CREAT | os.O_WRONLY, 0o600))
            elif not self.file.exists():
                yield None
                return
            with closing(sqlite3.connect(self.file, timeout=_WAIT, isolation_level=None)) as base:
                base.execute("PRAGMA secure_delete = ON")
                base.execute(_TABLE)
                yield base
        except (sqlite3.Error, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise VtError(f"the history {shown(self.file)} cannot be used: {why}") from error


def _working_folder() -> str:
    """Returns the working folder, or "" if it has been removed."""
    try:
        return os.getcwd().encode("utf-8", "replace").decode()
    except OSError:
        return ""
