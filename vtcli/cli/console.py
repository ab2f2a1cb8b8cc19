"""Output helpers for commands: Rich consoles set up by `--color`, and plain warnings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.cli.options import Color


def make_console(color: Color, stderr: bool = False) -> Console:
    """Returns a console that prints text unchanged: no markup, emoji codes or highlighting.

    "auto" honours NO_COLOR, FORCE_COLOR and TERM. "always" overrides NO_COLOR, because flags take precedence over the
    environment. "never" keeps a terminal's wrapping but prints no styles or links.
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
    """Prints one warning line to stderr, sanitised because `message` may quote a file or a model."""
    from vtcli.trace.text import sanitise_line

    print(f"vt: warning: {sanitise_line(message)}", file=sys.stderr)


def size_text(count: int) -> str:
    """Formats a byte count for display: "9.9 MB", "16.6 GB"."""
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e9:.1f} GB"
