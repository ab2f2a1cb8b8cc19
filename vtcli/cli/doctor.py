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

_NAME = 18  # columns of the widest name and a gap


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
    for line in _lines(record):
        console.print(line, soft_wrap=True)


def _terminal(console: Console) -> dict[str, Any]:
    """What stdout's terminal does with a trace; `colours` null for none."""
    return {
        "is_terminal": console.is_terminal,
        "colours": console.color_system if not console.no_color else None,
        "links": console.is_terminal and not console.is_dumb_terminal and console.color_system is not None,
        "link_template": os.environ.get("VT_LINK"),
        "width": console.width,
        "encoding": console.encoding,
    }


def _lines(record: Mapping[str, Any]) -> Iterator[Text]:
    """The record `vt.doctor/1` for people."""
    from rich.text import Text

    yield Text(f"vt {record['version']}, Python {record['python']}, {record['platform']}")
    for title in ("engines", "devices", "readers", "models"):
        yield Text()
        yield Text(title, style="bold")
        for finding in record[title]:
            yield from _finding(finding)
    yield Text()
    yield Text("terminal", style="bold")
    yield _told("colours", record["terminal"]["colours"] or "none")
    yield _told("links", "times can be clicked" if record["terminal"]["links"] else "none here")
    yield _told("text", f"{record['terminal']['width']} columns, {record['terminal']['encoding']}")


def _finding(finding: Mapping[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    from vtcli.trace.text import sanitise_line

    mark, style = ("ok", "green") if finding["ready"] else ("no", "yellow")
    line = Text("  ").append(mark, style=style).append(f"  {finding['name']:<{_NAME}}")
    yield line.append(sanitise_line(finding["detail"] + _numbers(finding)))
    if finding["fix"]:
        yield Text(f"{'':{_NAME + 6}}run: ").append(sanitise_line(finding["fix"]), style="bold")


def _told(name: str, text: str) -> Text:
    from rich.text import Text

    return Text(f"      {name:<{_NAME}}{text}")


def _numbers(finding: Mapping[str, Any]) -> str:
    """Memory of a device, size and frames of a model."""
    if finding.get("free") is not None:
        precision = f", {finding['dtype']} for a 7B" if finding["dtype"] else ""
        return f", {_gb(finding['free'])} of {_gb(finding['memory'])} GB free{precision}"
    if finding.get("bytes") is not None:
        frames = f"up to {finding['frames']} frames fit" if finding["frames"] else "nothing fits"
        return f" Takes {_gb(finding['bytes'])} GB on {finding['device']}, {frames}."
    return ""


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f}" if count < 1e9 else f"{count / 1e9:.1f}"
