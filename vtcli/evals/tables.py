"""Formats rows as aligned text for terminals and as Markdown for files, after sanitising the cells."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vtcli.trace.text import sanitise_line

Row = Sequence[object]


def text_table(head: Row, rows: Sequence[Row], left: int = 1) -> str:
    """Returns columns as wide as needed, the first `left` ones aligned left, the others right."""
    lines = [[sanitise_line(_shown(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            _padded(cell, width, left=column < left)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(head: Row, rows: Sequence[Row]) -> str:
    """Returns a Markdown table. Pipes and angle brackets are escaped: no cell breaks out of it or becomes HTML."""

    def line(row: Row) -> str:
        return "| " + " | ".join(markdown_text(_shown(cell)) for cell in row) + " |"

    return "\n".join([line(head), "|---" + "|---:" * (len(head) - 1) + "|", *map(line, rows)])


def range_text(interval: Sequence[float] | None) -> str:
    """Formats an interval in percent; "-" for None."""
    return "-" if interval is None else f"{interval[0]:.2f}\u2013{interval[1]:.2f}"


def signed_range(interval: Sequence[float] | None) -> str:
    """Formats the interval of a difference; "-" for None."""
    return "-" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def _shown(cell: object) -> str:
    return "-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _padded(text: str, width: int, left: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return text + blanks if left else blanks + text


def markdown_text(text: str) -> str:
    """Escapes text into one line that Markdown shows unchanged."""
    text = sanitise_line(text)
    for character in "\\`*_[]|":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
