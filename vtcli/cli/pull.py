"""`vt pull`: downloads a model by name, and exports it here if the requested type is not published."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options
from vtcli.cli.console import size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from vtcli.models.pull import Plan
    from vtcli.models.reference import Reference
    from vtcli.models.store import Installed


def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:QUANT]",
            help="Name from `vt models` or OWNER/REPO on the hub, with @REVISION if wanted; add :QUANT, such as "
            ":q4_k_m, for a quantised model.",
            show_default=False,
        ),
    ],
    drop_source: Annotated[
        bool, typer.Option("--drop-source", help="Remove the checkpoint after exporting it on this machine.")
    ] = False,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path.")] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Download a model, resuming an interrupted download and verifying every file.

    With :QUANT, published GGUF files of that type are downloaded.
    If none are published, the checkpoint is downloaded and exported on this machine.
    On success, a command to try is printed.
    """
    from vtcli.errors import ModelError
    from vtcli.models.reference import parse
    from vtcli.trace.text import dump_json, sanitise_line

    if (reference := parse(model)) is None:
        raise ModelError(f"no such model: {model} (a name of `vt models`, or OWNER/REPO of the hub)")
    got = fetch(reference, offline, drop_source, quiet, color)
    if json:
        record: dict[str, object] = {"schema": "vt.pull/1", "name": got.name, "quant": got.quant, "where": got.where}
        record |= {"repository": got.repository, "revision": got.revision, "path": str(got.path), "bytes": got.bytes}
        print(dump_json(record, sys.stdout.encoding))
        return
    print(sanitise_line(str(got.path)))
    if not quiet:
        name = replace(reference, quant=got.quant) if reference.named_revision else got
        print(f'vt: {size_text(got.bytes)}; try: vt ask VIDEO "QUESTION" -m {name}', file=sys.stderr)


def fetch(reference: Reference, offline: bool, drop_source: bool, quiet: bool, color: options.Color) -> Installed:
    """Makes sure that the model is on this machine, showing progress on stderr. Raises ModelError, VtError."""
    from vtcli.cli.console import make_console
    from vtcli.errors import ModelError
    from vtcli.models import hub, store
    from vtcli.models.pull import plan
    from vtcli.models.pull import pull as run
    from vtcli.trace.text import sanitise_line

    if reference.repository is None or offline or hub.is_offline():
        if found := store.find(reference):
            return found[0]
        if reference.repository is not None:
            raise ModelError(f"{reference} is not on this machine, and the network must not be used")
    what = plan(reference)
    console = make_console(color, stderr=True)
    if not quiet:
        for line in _plan_lines(what):
            console.print(f"vt: {sanitise_line(line)}", style="dim", soft_wrap=True)
    with Bars(console, quiet) as bars:
        got, freed = run(what, bars, drop_source)
    if freed and not quiet:
        console.print(f"vt: {size_text(freed)} of the checkpoint freed", soft_wrap=True)
    return got


def _plan_lines(plan: Plan) -> list[str]:
    if plan.have is not None:
        return [f"{plan.reference} is here already"]
    source = f"{plan.listing.repository} at {plan.listing.commit[:8]}"
    lines = [f"{source}: {len(plan.names)} files, {size_text(plan.bytes)}"]
    if plan.missing != plan.bytes:
        lines[0] += f", of which {size_text(plan.missing)} are missing" if plan.missing else ", all here"
    if plan.export is not None:
        lines.append(
            f"nobody is known to publish {plan.reference}: it is made here, about {size_text(plan.made)}; "
            f"{size_text(plan.working)} more are needed while it is"
        )
    return lines


class Bars:
    """Progress bars of a pull on a terminal; shows nothing elsewhere."""

    def __init__(self, console: Console, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        show = console.is_terminal and not quiet
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._bars: Progress = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not show
        )
        self._task: TaskID | None = None

    def step(self, what: str, total: int | None) -> None:
        from vtcli.trace.text import sanitise_line

        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(sanitise_line(what), total=total)

    def gained(self, count: int) -> None:
        assert self._task is not None
        self._bars.advance(self._task, count)

    def share(self, what: str, share: float) -> None:
        assert self._task is not None
        self._bars.update(self._task, description=what, total=1, completed=share)

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._bars.stop()
