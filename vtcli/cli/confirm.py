"""Asks for confirmation before large downloads and irreversible actions."""

from __future__ import annotations

import sys


def confirm(question: str, default: bool) -> bool:
    """Asks on the terminal and returns the answer; without a terminal the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from vtcli.trace.text import sanitise_line

    print(f"{sanitise_line(question)} [{'Y/n' if default else 'y/N'}] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip().lower()
    return default if not answer else answer in ("y", "yes")
