"""`vt export`: writes a checkpoint as GGUF files for llama.cpp."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vtcli.cli import options

# The keys of vtcli.models.export.run.QUANTS, repeated here so that `vt --help` need not import that module.
Quant = Literal["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_M", "Q2_K"]


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Qwen2.5-VL checkpoint: a folder, or an installed model's name such as `tiny`.",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.", show_default=False)],
    quant: Annotated[
        Quant,
        typer.Option(
            "--quant", case_sensitive=False, help="Type of the text model's weights; Q4_K_M needs little memory."
        ),
    ] = "Q8_0",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Overwrite existing files.")] = False,
    json: options.JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress.")] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Export a checkpoint as two GGUF files for llama.cpp: the quantised text model and the vision tower.

    `vt ask -m` takes the text model and finds the vision tower beside it.
    Other programs that use llama.cpp load the two files too.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from vtcli.cli.console import make_console
    from vtcli.models.checkpoint import open_checkpoint
    from vtcli.models.export import export as run
    from vtcli.trace.text import dump_json, sanitise_line

    console = make_console(color, stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=1)
        made = run(
            open_checkpoint(checkpoint),
            folder,
            quant,
            replace=yes,
            progress=lambda what, share: bar.update(task, description=what, completed=share),
        )
    files = {"text": made.text, "projector": made.projector}
    if json:
        record = {name: {"path": str(file), "bytes": file.stat().st_size} for name, file in files.items()}
        print(dump_json({"schema": "vt.export/1", "quant": quant, **record}, sys.stdout.encoding))
        return
    for file in files.values():
        print(sanitise_line(str(file)))
    if not quiet:
        import shlex

        sizes = " + ".join(f"{file.stat().st_size / 1e9:.2f}" for file in files.values())
        print(f"vt: {sizes} GB; try: vt ask VIDEO QUESTION -m {shlex.quote(str(made.text))}", file=sys.stderr)
