"""Formats file names for messages: one line, without terminal control characters."""

from __future__ import annotations

from pathlib import Path


def shown(path: str | Path) -> str:
    """Returns `path` unchanged if every character is printable, else quoted, with all but printable ASCII escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
