"""`vt models`: the models that exist, those installed, and those that fit this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vtcli.cli import options
from vtcli.cli.console import size_text

if TYPE_CHECKING:
    from rich.table import Table

    from vtcli.models.overview import Row
    from vtcli.models.reference import Reference
    from vtcli.models.store import Installed


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
    from vtcli.errors import ModelError
    from vtcli.models.reference import parse
    from vtcli.trace.text import dump_json, sanitise_line

    found = _named(text)
    if not found:
        reference = parse(text)
        is_begun = reference is not None and _partial(reference)
        raise ModelError(f"{text} is not complete on this machine: vt pull goes on" if is_begun else _unknown(text))
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
    from vtcli.models import store
    from vtcli.models.reference import parse
    from vtcli.trace.text import dump_json, sanitise_line

    reference = parse(text)
    found = _installed(reference) if reference else []
    partial = _partial(reference) if reference and not found else {}
    if not found and not partial:
        raise ModelError(f"{text} is not on this machine" if _named(text) else _unknown(text))
    if fixed := next((one for one in found if one.where in (store.EMBEDDED, store.OWN)), None):
        raise VtError(f"{fixed.name} is no download of vt's: it stays")
    assert reference is not None
    revision = f"@{reference.named_revision}" if reference.named_revision else ""
    names = [str(replace(one, name=f"{one.name}{revision}")) for one in found]
    sizes = [f"{name} ({size_text(one.bytes)})" for name, one in zip(names, found, strict=True)]
    named = ", ".join(sizes or (f"{size_text(size)} of {repository}" for repository, size in partial.items()))
    if not yes and not confirm(f"Remove {named}?", default=False):
        raise VtError(f"{named} kept: vt models rm {text} -y removes without asking")
    freed = sum(store.remove(one) for one in found) + sum(map(store.remove_partial, partial))
    if json:
        record = {"schema": "vt.models/1", "removed": names, "bytes": freed}
        print(dump_json(record, sys.stdout.encoding))
        return
    print(f"{size_text(freed)} freed: {sanitise_line(named)}")
    for left in _other_revisions(reference, found):
        print(f"another revision is still here: vt models rm {sanitise_line(left)} removes it")


def _other_revisions(reference: Reference, removed: list[Installed]) -> list[str]:
    """The names by which to remove what the same name stands for after its removal."""
    quant = f":{reference.quant.lower()}" if reference.quant else ""
    left = [one for one in _installed(reference) if one.repository in {gone.repository for gone in removed}]
    return list(dict.fromkeys(f"{one.repository}@{one.revision}{quant}" for one in left))


def _named(text: str) -> list[Row]:
    """The rows that `text` names: one variant, or all variants of a model named without one."""
    from vtcli.machine import places
    from vtcli.models import catalogue
    from vtcli.models.overview import Row, rows
    from vtcli.models.reference import parse

    if (reference := parse(text)) is None:
        return []
    found = _installed(reference)
    entry = reference.entry or catalogue.entry_of(reference.name)
    if reference.named_revision:
        return [Row(one.name, one.quant, entry, one, one.bytes) for one in found]
    names = {entry.name} if entry else {one.name for one in found}
    return [row for row in rows(places()) if row.name in names and reference.quant in (None, row.quant)]


def _unknown(text: str) -> str:
    return f"no such model: {text} (see vt models)"


def _installed(reference: Reference) -> list[Installed]:
    """The installed models that `reference` names; without a catalogue entry, those of the named repository first."""
    from vtcli.models import store

    found = store.find(reference)
    own = [] if reference.entry else [one for one in found if one.repository == reference.repository]
    return own or found


def _partial(reference: Reference) -> dict[str, int]:
    """The bytes of unfinished downloads in each repository that may hold the model."""
    from vtcli.models import store

    named = store.repositories(reference)
    return {repository: size for repository, size in store.partial() if repository in named}


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
