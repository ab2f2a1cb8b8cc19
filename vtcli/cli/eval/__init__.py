"""`vt eval` and its subcommands. Like other command modules, they import nothing heavy until they run."""

from __future__ import annotations

import typer

from vtcli.cli.eval.compare import compare
from vtcli.cli.eval.list import list_benchmarks
from vtcli.cli.eval.report import report
from vtcli.cli.eval.run import run
from vtcli.cli.eval.score import score

app = typer.Typer(help="Run benchmarks, score answers and compare models.", invoke_without_command=True)
app.command("list")(list_benchmarks)
for command in (run, score, report, compare):
    app.command()(command)


@app.callback()
def root(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
