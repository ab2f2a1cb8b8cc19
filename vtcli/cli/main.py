"""The `vt` app and its commands. Command modules import nothing heavy until they run."""

from __future__ import annotations

from typing import Annotated

import typer

from vtcli import __version__
from vtcli.cli.ask import ask
from vtcli.cli.batch import batch
from vtcli.cli.cache import cache
from vtcli.cli.chat import chat
from vtcli.cli.demo import demo
from vtcli.cli.doctor import doctor
from vtcli.cli.eval import app as eval_app
from vtcli.cli.export import export
from vtcli.cli.frames import frames
from vtcli.cli.history import history
from vtcli.cli.models import models
from vtcli.cli.probe import probe
from vtcli.cli.pull import pull
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
for command in (ask, chat, batch, demo, pull, models, probe, frames, trace, export, train, cache, history, doctor):
    app.command()(command)
app.add_typer(eval_app, name="eval")


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
