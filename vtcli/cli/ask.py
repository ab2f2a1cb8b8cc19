"""`vt ask`: one question, one trace, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options
from vtcli.cli.asking import Asking, asks_a_model, make_question

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.ask import Question
    from vtcli.history import History


@asks_a_model()
def ask(
    video: options.VideoArgument,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="Question to ask.", show_default=False)],
    asking: Asking,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the frames, prompt and memory estimate without loading the weights.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    json: options.JsonOption = False,
    html: options.HtmlOption = None,
    quiet: options.QuietOption = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Ask one question about a video.

    The trace goes to stderr, the answer to stdout.
    """
    if html is not None:
        from vtcli.errors import VtError

        raise VtError("--html is not in this version: use --json for the whole record")
    asked = make_question(asking, video, question, keep=not (asking.no_cache or dry_run), quiet=quiet, color=color)
    if dry_run:
        show_plan(asked, json)
    else:
        from vtcli.settings import history

        show_answer(asked, json, quiet, color, history())


def show_answer(question: Question, json: bool, quiet: bool, color: options.Color, past: History | None = None) -> None:
    """Answers `question`; prints trace and warnings to stderr unless `quiet`, and the answer or record to stdout.

    Adds the record to the history `past`, if there is one.
    """
    from vtcli.ask import ask as run
    from vtcli.cli.console import make_console
    from vtcli.cli.follow import Follower
    from vtcli.cli.history import remember
    from vtcli.trace.text import dump_json, sanitise, sanitise_line

    console = make_console(color, stderr=True)
    if quiet:
        record = run(question)
    else:
        with Follower(console) as follower:
            record = run(question, follower)
        for warning in record["warnings"]:
            console.print(f"vt: warning: {sanitise_line(warning)}", style="yellow", soft_wrap=True)
    if json:
        print(dump_json(record, sys.stdout.encoding))
    elif record["answer"]:
        print_answer(sanitise(record["answer"]), make_console(color))
    sys.stdout.flush()  # before anything else may fail
    remember(past, record, quiet)


def print_answer(answer: str, console: Console) -> None:
    """Prints an answer, which must already be sanitised."""
    if console.is_terminal:
        console.print(answer, style="bold green", soft_wrap=True)
    else:  # unchanged: Rich would expand tabs
        print(answer)


def show_plan(question: Question, json: bool) -> None:
    """Prints the plan of `question` to stdout."""
    from vtcli.ask import dry_run
    from vtcli.cli.console import warn
    from vtcli.trace.text import dump_json, sanitise

    plan = dry_run(question)
    if json:
        print(dump_json(plan, sys.stdout.encoding))
        return
    for line in _plan_lines(plan):
        print(sanitise(line))
    for warning in plan["warnings"]:
        warn(warning)


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    from vtcli.trace.times import format_time

    video, sampling, layout, memory = plan["video"], plan["sampling"], plan["layout"], plan["memory"]
    times = " ".join(format_time(time) for time in sampling["times"])
    parts = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in memory.items() if name != "total")
    return [
        f"video    {video['path']}: {video['duration']:.2f} s, {video['width']}×{video['height']}, "
        f"{video['frames']} frames at {video['fps']:.4g} a second",
        f"frames   {sampling['frames']} of {sampling['width']}×{sampling['height']} at {times}",
        f"tokens   {len(layout['input_ids'])}, of them {layout['video_tokens']} for the video",
        f"memory   {memory['total'] / 1e9:.2f} GB ({parts})",
        f"model    {plan['model']['name']}",
        "prompt   (as the model's template renders it)",
        plan["prompt"],
    ]
