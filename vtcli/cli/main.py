"""The `vt` app: which commands there are. Command modules import nothing heavy until they run."""

from __future__ import annotations

from typing import Annotated

import typer

from vtcli import __version__
from vtcli.cli.ask import ask
from vtcli.cli.cache import cache
from vtcli.cli.demo import demo
from vtcli.cli.doctor import doctor
from vtcli.cli.export import export
from vtcli.cli.frames import frames
from vtcli.cli.probe import probe
from vtcli.cli.trace import trace
from vtcli.cli.train import train

app = typer.Typer(
    name="vt",
    help="Ask questions about videos on your own machine, and see the evidence for the answer.",
    epilog="Start with: vt demo",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (ask, demo, probe, frames, trace, export, train, cache, doctor):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"vt {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
