"""`vt cache`: shows or clears the cached video prefixes."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from vtcli.cli import options


def cache(
    action: Annotated[
        Literal["show", "clear"],
        typer.Argument(help="Show the cache's size and folder, or clear it.", show_default=True),
    ] = "show",
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show or clear the video prefix cache, which speeds up later questions about a video."""
    from vtcli.settings import prefix_store
    from vtcli.trace.text import dump_json, sanitise_line

    store = prefix_store()
    if action == "clear":
        count, freed = store.clear()
        record = {"schema": "vt.cache/1", "folder": str(store.folder), "cleared": count, "bytes": freed}
        text = f"{count} kept videos cleared, {freed / 1e6:.1f} MB"
    else:
        count, size = store.usage()
        record = {"schema": "vt.cache/1", "folder": str(store.folder), "files": count, "bytes": size}
        record["limit"] = store.limit
        text = (
            f"{count} kept videos, {size / 1e6:.1f} MB of at most {store.limit / 1e6:.0f} MB, "
            f"in {sanitise_line(str(store.folder))}"
        )
    print(dump_json(record, sys.stdout.encoding) if json else text)
