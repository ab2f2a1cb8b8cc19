"""Logs a run, one line per step, to a file that can always be continued."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """One stage's log.jsonl. A resumed run drops the lines of later steps, so that none appears twice."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def begin(self, step: int) -> None:
        """Continues after `step`; drops the lines of later steps."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in self.rows() if row["step"] <= step]
        aside = self.file.with_suffix(".part")
        aside.write_text("".join(map(_line, kept)), encoding="utf-8")
        aside.replace(self.file)

    def write(self, step: int, **values: Any) -> None:
        """Appends one line: the step and `values`, without floats that are not finite."""
        row = {"step": step} | {k: v for k, v in values.items() if not isinstance(v, float) or math.isfinite(v)}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields all lines; skips one that a crash cut short."""
        if not self.file.is_file():
            return
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
