"""What a run writes down: a line a step, in a file that can always be continued."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """One stage's log.jsonl. Lines of steps after the one a run is resumed from are dropped, so none stands twice."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def begin(self, step: int) -> None:
        """Goes on after `step`."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in self.rows() if row["step"] <= step]
        aside = self.file.with_suffix(".part")
        aside.write_text("".join(map(_line, kept)), encoding="utf-8")
        aside.replace(self.file)

    def write(self, step: int, **values: Any) -> None:
        """One line: the step, and numbers that are numbers."""
        row = {"step": step} | {k: v for k, v in values.items() if not isinstance(v, float) or math.isfinite(v)}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def rows(self) -> Iterator[dict[str, Any]]:
        """All lines; one that was cut short by a crash is passed over."""
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
