"""Wrap a stream of text to the console's width as it arrives, word by word, with a hanging indent."""

from __future__ import annotations

import re
from itertools import groupby

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.style import Style
from rich.text import Text

_PIECES = re.compile(r"\s+|\S+")
_JOINER = "\u200d"  # zero-width joiner: combines two emoji into one


class WordWrap:
    """Prints paragraphs on `console`; only the current word is held back, never more than a line.

    Lines may break between wide (CJK) characters, as CJK text has no spaces. If `console` is not a terminal, nothing is
    wrapped. The text must be free of control characters (see text.sanitise).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._wraps = console.is_terminal
        self._style = Style()
        self._indent = 0
        self._column = 0
        self._gap = ""  # what precedes the next word: spaces or a line break
        self._word = ""
        self._out: list[str] = []

    def paragraph(self, indent: int, style: Style, same_line: bool = False) -> None:
        """Starts a paragraph in `style`, indented by `indent` columns, on a new line or the same one."""
        self._end_word()
        self._flush()
        if not same_line:
            self._gap = "\n" if self._column else ""
        self._indent, self._style = indent, style

    def label(self, text: str, style: Style) -> int:
        """Prints `text` at the beginning of a line and returns the column where text after it starts."""
        self.paragraph(0, style)
        self._place(text, cell_len(text))
        self._flush()
        self._gap = "  "
        return self._column + 2

    def write(self, text: str) -> None:
        """Adds `text` to the paragraph; collapses runs of whitespace and drops leading whitespace."""
        for piece in _PIECES.findall(text):
            if piece.isspace():
                self._end_word()
                if self._column and self._gap in ("", " "):
                    self._gap = "\n" if "\n" in piece else " "
            elif not self._wraps:
                self._place(piece, cell_len(piece) if len(piece) < 100 else 100)
            elif piece.isascii():
                self._extend(piece)
            else:
                self._write_wide(piece)
        self._flush()

    def close(self) -> None:
        """Ends the last line."""
        self._end_word()
        if self._column:
            self._out.append("\n")
        self._flush()
        self._column, self._gap = 0, ""

    def _write_wide(self, piece: str) -> None:
        for wide, run in groupby(piece, lambda character: cell_len(character) > 1):
            for part in run if wide else ["".join(run)]:
                if self._breaks_before(part[0], wide):
                    self._end_word()
                self._extend(part)

    def _breaks_before(self, character: str, wide: bool) -> bool:
        if not self._word or self._word.endswith(_JOINER):
            return False
        return wide or (cell_len(self._word[-1]) > 1 and cell_len(character) > 0)

    def _extend(self, part: str) -> None:
        self._word += part
        room = self._room()
        if len(self._word) > room and cell_len(self._word) > room:
            *full, self._word = chop_cells(self._word, room)
            for line in full:
                self._place(line, cell_len(line))

    def _room(self) -> int:
        return max(self._console.width - self._indent, 8)

    def _end_word(self) -> None:
        if self._word:
            self._place(self._word, cell_len(self._word))
            self._word = ""

    def _place(self, word: str, size: int) -> None:
        full = self._wraps and self._column + len(self._gap) + size > self._indent + self._room()
        if self._gap == "\n" or (full and self._column > self._indent):
            self._out.append("\n")
            self._column = 0
            self._gap = ""
        if not self._column:
            self._out.append(" " * self._indent)
            self._column = self._indent
        self._out.append(self._gap + word)
        self._column += len(self._gap) + size
        self._gap = ""

    def _flush(self) -> None:
        if self._out:
            text = Text("".join(self._out), style=self._style)
            self._console.print(text, end="", soft_wrap=True, markup=False, highlight=False)
            self._out = []
