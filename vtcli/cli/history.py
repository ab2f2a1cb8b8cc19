"""`vt history`: earlier questions and their answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vtcli.history import Entry, History

SCHEMA = "vt.history/1"


def history(
    action: Annotated[
        Literal["list", "show", "search", "clear"],
        typer.Argument(help="List the latest answers, show one, search for words, or clear all.", show_default=True),
    ] = "list",
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NUMBER|WORDS", help="Number of the answer to show (default: the last), or words to search for."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, help="Maximum number of answers to list.")
    ] = 20,
    json: options.JsonOption = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """List, show, search or clear earlier answers of `vt ask` and `vt chat`.

    Set `history = "off"` in config.toml to keep no history.
    """
    from vtcli.cli.console import warn
    from vtcli.errors import UsageError
    from vtcli.history import KEPT, History
    from vtcli.settings import data_folder
    from vtcli.settings import history as kept_history

    if kept_history() is None:
        warn('the history is switched off in config.toml (history = "off"): only what was kept before is here')
    past = History(data_folder() / "history.db")
    words = words or []
    if action == "show":
        if len(words) > 1 or not all(word.isascii() and word.isdigit() and len(word) < 18 for word in words):
            raise UsageError("vt history show takes one number, as vt history lists them")
        _show(past.get(int(words[0]) if words else None), json, color)
        return
    if action != "search" and words:
        raise UsageError(f"vt history {action} takes no words: to find some, vt history search")
    if action == "clear":
        _print_cleared(past.clear(), json)
    elif action == "search" and not words:
        raise UsageError("vt history search: give the words to find")
    else:
        count = min(count, KEPT)  # SQLite takes no larger integer than 64 bits
        _list(past.search(words, count) if action == "search" else past.latest(count), json)


def remember(past: History | None, record: Mapping[str, Any], quiet: bool) -> None:
    """Adds a record to the history, if there is one; a failure is a warning, unless `quiet`."""
    from vtcli.cli.console import warn
    from vtcli.errors import VtError

    if past is None or record["error"]:
        return
    try:
        past.add(record)
    except VtError as error:
        if not quiet:
            warn(f"this answer is not kept: {error}")


def _list(entries: list[Entry], json: bool) -> None:
    from datetime import datetime

    from vtcli.trace.text import dump_json, sanitise_line

    if json:
        print(dump_json({"schema": SCHEMA, "entries": [entry.as_json() for entry in entries]}, sys.stdout.encoding))
        return
    if not entries:
        print("vt: the history holds none", file=sys.stderr)
    width = max((len(str(entry.id)) for entry in entries), default=0)
    for entry in entries:
        record, when = entry.record, datetime.fromtimestamp(entry.time).strftime("%Y-%m-%d %H:%M")
        line = (
            f"{entry.id:>{width}}  {when}  {record['video']['path']}: {record['question']} → {record['answer'] or '-'}"
        )
        print(sanitise_line(" ".join(line.splitlines())))


def _show(entry: Entry, json: bool, color: options.Color) -> None:
    """Prints the trace to stderr and the answer to stdout, as when the question was asked."""
    import os

    from vtcli.cli.ask import print_answer
    from vtcli.cli.console import make_console
    from vtcli.trace.parser import parse_events
    from vtcli.trace.terminal import TraceRenderer
    from vtcli.trace.text import dump_json, sanitise, sanitise_line
    from vtcli.video.source import is_address

    record = entry.record
    if json:
        print(dump_json(record, sys.stdout.encoding))
        return
    console = make_console(color, stderr=True)
    path = record["video"]["path"]
    console.print(sanitise_line(f"{path}: {record['question']}"), style="dim", soft_wrap=True)
    video = path if is_address(path) else os.path.join(entry.folder, path)
    renderer = TraceRenderer(console, video, record["sampling"]["times"][0])
    for event in parse_events(record["text"]):
        renderer.event(event)
    renderer.close()
    if record["answer"]:
        print_answer(sanitise(record["answer"]), make_console(color))


def _print_cleared(count: int, json: bool) -> None:
    from vtcli.trace.text import dump_json

    print(dump_json({"schema": SCHEMA, "cleared": count}, sys.stdout.encoding) if json else f"answers removed: {count}")
