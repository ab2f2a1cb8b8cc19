"""`vt train`: runs a recipe's stages, SFT and GRPO, from checking the data to a checkpoint for `vt ask -m`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from vtcli.train.job import Job
    from vtcli.train.recipe import Recipe

StageOption = Literal["sft", "grpo"]
Strategy = Literal["ddp", "fsdp2", "zero2", "zero3"]
LAUNCH_PANEL = "Multi-GPU launch"
SHOW_PANEL = "Recipes"


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="Recipe name from --list, or a YAML file.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Records: a JSON, JSON Lines or Parquet file, or OWNER/NAME on the hub, with @REV and :FILE; repeat.",
            show_default="the recipe's",
        ),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="[SOURCE=]DIR",
            help="Folder of the videos of data_source SOURCE, or of all other sources; repeat.",
            show_default="the records' folder",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|DIR",
            help="Checkpoint to start from: an installed model or a folder.",
            show_default="the recipe's",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the run; the same command resumes it.",
            show_default="vt-train-RECIPE",
        ),
    ] = None,
    stage: Annotated[
        StageOption | None, typer.Option("--stage", help="Run only this stage.", show_default="all of the recipe")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe value, such as grpo.beta=0.1; repeat.",
            show_default=False,
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip records that cannot be used instead of stopping.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data, memory, disk and time without training.")
    ] = False,
    list_recipes: Annotated[
        bool, typer.Option("--list", help="List the recipes that come with vt.", rich_help_panel=SHOW_PANEL)
    ] = False,
    show: Annotated[
        str | None,
        typer.Option("--print", metavar="RECIPE", help="Print a recipe as YAML.", rich_help_panel=SHOW_PANEL),
    ] = None,
    print_launch: Annotated[
        Strategy | None,
        typer.Option(
            "--print-launch",
            help="Print the command that launches this run on several GPUs.",
            rich_help_panel=LAUNCH_PANEL,
        ),
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs per machine.", rich_help_panel=LAUNCH_PANEL)] = 8,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of machines.", rich_help_panel=LAUNCH_PANEL)] = 1,
    slurm: Annotated[
        bool,
        typer.Option(
            "--slurm",
            help="With --print-launch, print the command as a script for sbatch.",
            rich_help_panel=LAUNCH_PANEL,
        ),
    ] = False,
    json: options.JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not show progress.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Train a Qwen2.5-VL checkpoint on videos with a recipe: SFT, then GRPO.

    Data, memory, disk and time are checked before the model is loaded.
    Running the same command again resumes a run that was stopped.
    """
    from vtcli.errors import UsageError
    from vtcli.install import require

    require("vt train", "train", "yaml")
    from vtcli.trace.text import sanitise
    from vtcli.train.recipe_file import packaged, recipe_text, to_yaml

    if list_recipes:
        for name, description in packaged().items():
            print(f"{name:24}{description}")
        return
    if show is not None:
        print(sanitise(to_yaml(_recipe(show, data, root, model, changes)) if changes else recipe_text(show)), end="")
        return
    if recipe is None:
        raise UsageError("name a recipe: vt train --list shows those there are")
    made = _recipe(recipe, data, root, model, changes)
    name = Path(recipe).stem
    if slurm and print_launch is None:
        raise UsageError("--slurm goes with --print-launch")
    if print_launch is not None:
        _print_launch(print_launch, gpus, nodes, slurm)
        return
    from vtcli.cli.training import TrainFollower
    from vtcli.train.job import Job
    from vtcli.train.run import run

    job = Job(made, out or Path(f"vt-train-{name}"), (stage,) if stage else (), skip_bad, dry_run, name)
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        with _heeding_ctrl_c(), TrainFollower(color, quiet or not is_first) as follower:
            report = run(job, follower)
    except KeyboardInterrupt:
        if is_first and not dry_run:
            _print_stopped(job)
        raise
    if not is_first:
        return
    if json:
        from vtcli.trace.text import dump_json

        print(dump_json(report, sys.stdout.encoding))
    elif not dry_run:
        _print_end(report, quiet)


@contextmanager
def _heeding_ctrl_c() -> Iterator[None]:
    """Makes Ctrl-C stop the run even inside a finaliser, where Python would only report KeyboardInterrupt and go on."""
    import _thread
    import threading

    before = sys.unraisablehook

    def again(event: sys.UnraisableHookArgs) -> None:
        if issubclass(event.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()  # later, because here it would be lost too
        else:
            before(event)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _print_stopped(job: Job) -> None:
    """Prints to stderr where the same command will resume."""
    from vtcli.trace.text import sanitise_line
    from vtcli.train.checkpoints import complete, step_of
    from vtcli.train.recipe import STAGES

    kept = [(name, found[-1]) for name in STAGES if (found := complete(job.out / name))]
    after = (
        f"goes on after {kept[-1][0]} step {step_of(kept[-1][1])}" if kept else "begins again: no checkpoint was made"
    )
    print(sanitise_line(f"vt: stopped; the same command {after}"), file=sys.stderr)


def _print_end(report: dict[str, object], quiet: bool) -> None:
    """Prints the model's folder to stdout and, unless `quiet`, the report and a command to try to stderr."""
    import shlex

    from vtcli.trace.text import sanitise_line

    stages = report["stages"]
    assert isinstance(stages, dict)
    model = str(list(stages.values())[-1]["model"])
    print(sanitise_line(model))
    if quiet:
        return
    print(f"vt: report: {sanitise_line(str(report['out']))}/report.html", file=sys.stderr)
    print(f"vt: try: vt ask VIDEO QUESTION -m {sanitise_line(shlex.quote(model))}", file=sys.stderr)


def _recipe(
    name: str, data: list[str] | None, root: list[str] | None, model: str | None, changes: list[str] | None
) -> Recipe:
    """Loads the recipe and applies the flags to it."""
    from dataclasses import replace

    from vtcli.train.recipe_file import load_recipe

    recipe = load_recipe(name, changes or ())
    roots = dict(recipe.data.roots)
    for each in root or ():
        source, equals, folder = each.rpartition("=")
        roots[source if equals else ""] = folder
    files = tuple(data) if data else recipe.data.files
    return replace(recipe, model=model or recipe.model, data=replace(recipe.data, files=files, roots=roots))


def _print_launch(strategy: str, gpus: int, nodes: int, slurm: bool) -> None:
    """Prints the launch command for this command line."""
    from vtcli.trace.text import sanitise
    from vtcli.train.launch import launch_command, slurm_script

    arguments, skip = [], False
    for argument in sys.argv[sys.argv.index("train") + 1 :]:
        if skip or argument in ("--print-launch", "--gpus", "--nodes"):
            skip = not skip
            continue
        if argument != "--slurm" and not argument.startswith(("--print-launch=", "--gpus=", "--nodes=")):
            arguments.append(argument)
    made = slurm_script if slurm else launch_command
    print(sanitise(made(arguments, strategy, gpus, nodes)).rstrip("\n"))
