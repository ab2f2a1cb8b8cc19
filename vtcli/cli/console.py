"""What commands print through: Rich consoles as `--color` wants them, and plain warnings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.cli.options import Color


def make_console(color: Color, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, emoji codes or highlighting.

    "auto" heeds NO_COLOR, FORCE_COLOR and TERM; "always" goes before NO_COLOR, as flags do before the environment;
    "never" keeps a terminal's wrapping without styles and links.
    """
    from rich.console import Console

    return Console(
        stderr=stderr,
        force_terminal=True if color == "always" else None,
        color_system=None if color == "never" else "auto",
        no_color=False if color == "always" else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def warn(message: str) -> None:
    """Prints one warning line on stderr; it may quote what a file or a model says."""
    from vtcli.trace.text import sanitise_line

    print(f"vt: warning: {sanitise_line(message)}", file=sys.stderr)


def size_text(count: int) -> str:
    """Bytes for people: "9.9 MB", "16.6 GB"."""
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e9:.1f} GB"
