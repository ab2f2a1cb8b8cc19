"""How a file name is written inside a message: one line, nothing a terminal would act on."""

from __future__ import annotations

from pathlib import Path


def shown(path: str | Path) -> str:
    """`path` as it is when every character is printable, else quoted with its control characters escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
