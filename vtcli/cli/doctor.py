"""`vt doctor`: what this machine can run, and why not more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vtcli.cli import options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NAME = 18  # columns of the widest name plus a gap
_INDENT = " " * (_NAME + 6)  # of the text column, to the right of the names


def doctor(
    json: options.JsonOption = False, color: options.ColorOption = "auto", debug: options.DebugOption = False
) -> None:
    """Show what this machine can run: engines, devices, video readers, models that fit, the terminal."""
    from vtcli.cli.console import make_console
    from vtcli.doctor import examine
    from vtcli.trace.text import dump_json

    console = make_console(color)
    record = examine() | {"terminal": _terminal(console)}
    if json:
        print(dump_json(record, sys.stdout.encoding))
        return
    room = max(console.width - len(_INDENT), 20)
    for head, text in _lines(record):
        # On a terminal, long text wraps within its column; a command stays on one line so that it can be copied.
        wrapped = console.is_terminal and head.plain.strip()
        for number, part in enumerate(text.wrap(console, room) if wrapped else [text]):
            console.print((head if number == 0 else head.blank_copy(_INDENT)).append_text(part), soft_wrap=True)


def _terminal(console: Console) -> dict[str, Any]:
    """How stdout's terminal shows a trace; `colours` is null if it shows none."""
    return {
        "is_terminal": console.is_terminal,
        "colours": console.color_system if not console.no_color else None,
        "links": console.is_terminal and not console.is_dumb_terminal and console.color_system is not None,
        "link_template": os.environ.get("VT_LINK"),
        "width": console.width,
        "encoding": console.encoding,
    }


def _lines(record: Mapping[str, Any]) -> Iterator[tuple[Text, Text]]:
    """The record `vt.doctor/1` as readable lines: the left column, and the text beside it."""
    from rich.text import Text

    yield Text(), Text(f"vt {record['version']}, Python {record['python']}, {record['platform']}")
    for title in ("engines", "devices", "readers", "models"):
        yield Text(), Text(f"\n{title}", style="bold")
        for finding in record[title]:
            yield from _finding(finding)
    yield Text(), Text("\nterminal", style="bold")
    terminal = record["terminal"]
    yield _name("colours"), Text(terminal["colours"] or "none")
    yield _name("links"), Text("times can be clicked" if terminal["links"] else "none here")
    yield _name("text"), Text(f"{terminal['width']} columns, {terminal['encoding']}")


def _finding(finding: Mapping[str, Any]) -> Iterator[tuple[Text, Text]]:
    from rich.text import Text

    from vtcli.trace.text import sanitise_line

    mark, style = ("ok", "green") if finding["ready"] else ("no", "yellow")
    yield _name(finding["name"], mark, style), Text(sanitise_line(finding["detail"] + _numbers(finding)))
    if finding["fix"]:
        yield Text(_INDENT), Text(f"run: {sanitise_line(finding['fix'])}", style="bold")


def _name(name: str, mark: str = "", style: str = "") -> Text:
    from rich.text import Text

    return Text("  ").append(f"{mark:2}", style=style).append(f"  {name:<{_NAME}}")


def _numbers(finding: Mapping[str, Any]) -> str:
    """The memory of a device, or the size and number of frames of a model."""
    if finding.get("free") is not None:
        precision = f", {finding['dtype']} for a 7B" if finding["dtype"] else ""
        return f", {_gb(finding['free'])} of {_gb(finding['memory'])} GB free{precision}"
    if finding.get("bytes") is not None:
        frames = f"up to {finding['frames']} frames fit" if finding["frames"] else "which is not free"
        return f" Takes {_gb(finding['bytes'])} GB on {finding['device']}, {frames}."
    return ""


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f}" if count < 1e9 else f"{count / 1e9:.1f}"
