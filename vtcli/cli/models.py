"""`vt models`: the models that exist, those installed, and those that fit this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vtcli.cli import options
from vtcli.cli.console import size_text

if TYPE_CHECKING:
    from rich.table import Table

    from vtcli.models.overview import Row


def models(
    action: Annotated[
        Literal["list", "show", "rm"],
        typer.Argument(help="List all models, show one, or remove (rm) one from the disk.", show_default=True),
    ] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="NAME[:QUANT]", help="Model to show or remove.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking for confirmation.")] = False,
    json: options.JsonOption = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """List, show or remove models: which exist, which are installed, their size, and what fits this machine."""
    from vtcli.errors import UsageError

    if (name is None) != (action == "list"):
        raise UsageError("vt models list takes no name" if name else f"vt models {action} needs a name: see vt models")
    if action == "list":
        _list(json, color)
    elif action == "show":
        _show(str(name), json)
    else:
        _remove(str(name), yes, json)


def _list(json: bool, color: options.Color) -> None:
    from vtcli.cli.console import make_console
    from vtcli.machine import places
    from vtcli.models import store
    from vtcli.models.hub_cache import cache_folder
    from vtcli.models.overview import rows
    from vtcli.trace.text import dump_json, sanitise_line

    found, partial = list(rows(places())), list(store.partial())
    if json:
        record = {
            "schema": "vt.models/1",
            "folder": str(cache_folder()),
            "models": [_record(row) for row in found],
            "partial": [{"repository": repository, "bytes": size} for repository, size in partial],
        }
        print(dump_json(record, sys.stdout.encoding))
        return
    console = make_console(color)
    if not console.is_terminal:
        console.width = 200  # one line per model, for grep
    console.print(_table(found, console.is_terminal))
    if any(row.entry and row.entry.unverified for row in found):
        print("~ about, from the model's shape; fits: where, and memory that 16 frames take; * could not be checked")
    for repository, size in partial:
        print(f"{sanitise_line(repository)}: {size / 1e9:.2f} GB of a download that did not end; vt pull goes on")


def _table(found: list[Row], is_terminal: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from vtcli.trace.text import sanitise_line

    table = Table("model", "size", "here", "fits", "licence", box=box.SIMPLE_HEAD if is_terminal else None)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[1].justify = "right"
    for row in found:
        name = f"  :{row.quant.lower()}" if row.quant and row.entry and row.entry.repository else str(row)
        licence = row.entry.licence if row.entry and not row.quant else ""
        mark = "*" if row.entry and "licence" in row.entry.unverified and licence else ""
        table.add_row(
            Text(sanitise_line(name), style="bold" if row.here else ""),
            f"{'' if row.here else '~'}{size_text(row.bytes)}",
            Text(row.here.where if row.here else "-", style="green" if row.here else "dim"),
            Text(_fit(row), style="" if row.fits else "dim"),
            Text(sanitise_line(licence) + mark),
        )
    return table


def _fit(row: Row) -> str:
    if row.memory is None:
        return "no engine for it" if row.entry else "-"
    return f"{row.device}, {size_text(row.memory)}" if row.fits else f"no: {size_text(row.memory)}"


def _show(text: str, json: bool) -> None:
    from vtcli.trace.text import dump_json, sanitise_line

    found = _named(text)
    if json:
        record = {"schema": "vt.models/1", "models": [_record(row) for row in found]}
        print(dump_json(record, sys.stdout.encoding))
        return
    for label, value in _facts(found):
        print(f"{label:12} {sanitise_line(value)}")


def _facts(found: list[Row]) -> Iterator[tuple[str, str]]:
    first = found[0]
    yield "name", first.name
    if entry := first.entry:
        doubt = set(entry.unverified)
        yield "what", entry.description + (f" It {entry.scope}." if entry.scope else "")
        yield "licence", entry.licence + ("*" if "licence" in doubt else "")
        if entry.repository:
            at = f" at {entry.revision}" if entry.revision else ""
            yield "hub", f"{entry.repository}{at}" + ("*" if "repository" in doubt else "")
        for one in entry.gguf:
            yield "GGUF", f"{one.repository} ({', '.join(one.quants).lower()})" + ("*" if "gguf" in doubt else "")
        if context := entry.config.get("max_position_embeddings"):
            yield "context", f"{context} positions"
        yield "prompt", entry.prompt
        if doubt:
            yield "* unchecked", ", ".join(entry.unverified)
    for row in found:
        state = (
            f"{row.here.where}, {size_text(row.here.bytes)}, {row.here.path}"
            if row.here
            else f"~{size_text(row.bytes)}"
        )
        memory = f"; in memory: {_fit(row)}" if row.memory else ""
        yield str(row).removeprefix(first.name) or "checkpoint", state + memory


def _remove(text: str, yes: bool, json: bool) -> None:
    from vtcli.cli.confirm import confirm
    from vtcli.errors import ModelError, VtError
    from vtcli.models import hub_cache, store
    from vtcli.trace.text import dump_json, sanitise_line

    found = [row.here for row in _named(text) if row.here]
    partial = 0 if found else _partial(text)
    if not found and not partial:
        raise ModelError(f"{text} is not on this machine")
    if fixed := next((one for one in found if one.where in (store.EMBEDDED, store.OWN)), None):
        raise VtError(f"{fixed.name} is no download of vt's: it stays")
    named = ", ".join(f"{one} ({size_text(one.bytes)})" for one in found) or f"{size_text(partial)} of {text}"
    if not yes and not confirm(f"Remove {named}?", default=False):
        raise VtError(f"{named} kept: vt models rm {text} -y removes without asking")
    freed = sum(store.remove(one) for one in found)
    if partial:
        folder = hub_cache.repository_folder(_repository(text))
        freed = hub_cache.remove(folder, hub_cache.files(folder))
    record = {"schema": "vt.models/1", "removed": [str(one) for one in found], "bytes": freed}
    print(dump_json(record, sys.stdout.encoding) if json else f"{size_text(freed)} freed: {sanitise_line(named)}")


def _named(text: str) -> list[Row]:
    """The rows that `text` names: one variant, or all variants of a model named without one."""
    from vtcli.errors import ModelError
    from vtcli.machine import places
    from vtcli.models.overview import rows
    from vtcli.models.reference import parse

    reference = parse(text)
    name, quant = (reference.name, reference.quant) if reference else (text, None)
    found = [row for row in rows(places()) if row.name == name and quant in (None, row.quant)]
    if not found and not _partial(text):
        raise ModelError(f"no such model: {text} (see vt models)")
    return found


def _repository(text: str) -> str:
    from vtcli.models.reference import parse

    reference = parse(text)
    return (reference.repository if reference else None) or text


def _partial(text: str) -> int:
    from vtcli.models import store

    return dict(store.partial()).get(_repository(text), 0)


def _record(row: Row) -> dict[str, Any]:
    entry, here = row.entry, row.here
    return {
        "name": row.name,
        "quant": row.quant,
        "description": entry.description if entry else None,
        "licence": entry.licence if entry else None,
        "repository": here.repository if here else entry.repository if entry else None,
        "revision": here.revision if here else None,
        "prompt": entry.prompt if entry else None,
        "unverified": list(entry.unverified) if entry else [],
        "installed": here is not None,
        "where": here.where if here else None,
        "path": str(here.path) if here else None,
        "bytes": row.bytes,
        "memory": row.memory,
        "device": row.device,
        "fits": row.fits,
    }
