"""`vt batch`: many videos, many questions, one file of answers."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options
from vtcli.cli.asking import Asking, asks_a_model, make_question

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.ask import Question
    from vtcli.batch.items import Item, Shard
    from vtcli.batch.run import Batch

SOME_FAILED = 3
RUN_PANEL = "Run"


@asks_a_model(without=("no_cache",))
def batch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Videos, URLs, folders (searched recursively), glob patterns, or lists of names (@FILE, - for stdin).",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File for the answers, one JSON object per line.", show_default=False
        ),
    ],
    question: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            "-q",
            metavar="TEXT",
            help="Question to ask about every video; repeat for several.",
            show_default=False,
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            metavar="FILE",
            help="CSV, TSV or JSON Lines file with the fields question, video, choices, id, start and end.",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Retry the questions that failed in an earlier run.", rich_help_panel=RUN_PANEL
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Run only part I of N, from 1/N to N/N; give each part its own --output.",
            show_default=False,
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Merge the shards' outputs, given as SOURCE, into --output.", rich_help_panel=RUN_PANEL
        ),
    ] = False,
    gaps: Annotated[
        bool,
        typer.Option(
            "--gaps", help="With --merge, allow items that are missing from all outputs.", rich_help_panel=RUN_PANEL
        ),
    ] = False,
    asking: Asking,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON summary to stdout.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only errors.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Ask about many videos and write the answers to a file, one per line.

    Running the same command again resumes where the last run stopped.
    """
    from vtcli.cli.console import make_console
    from vtcli.errors import UsageError

    console = make_console(color, stderr=True)
    if merge:
        if question or questions or shard or retry_failed:
            raise UsageError("--merge puts outputs together and asks nothing: leave the questions out")
        _merge([Path(source) for source in sources or ()], output, gaps, json, console, quiet)
        return
    if gaps:
        raise UsageError("--gaps goes with --merge")
    base = make_question(
        replace(asking, choice=None),
        "",
        "",
        keep=False,  # prefixes stay in memory between questions about a video; a whole run's would fill the disk
        quiet=quiet,
        color=color,
    )
    part = parse_shard(shard)
    warnings: list[str] = []
    items, unread = _items(sources or [], question or [], tuple(asking.choice or ()), questions, base, warnings)
    if asking.offline:
        _refuse_addresses(items)
    _run(items, base, output, part, retry_failed, unread, warnings, json, console, quiet)


def _items(
    sources: list[str],
    questions: list[str],
    choices: tuple[str, ...],
    file: Path | None,
    base: Question,
    warnings: list[str],
) -> tuple[list[Item], int]:
    """The items to ask, and the number of folders that could not be searched; appends to `warnings`."""
    from vtcli.batch.questions import Asked, make_items, read_questions
    from vtcli.batch.sources import find_videos
    from vtcli.errors import UsageError

    if bool(questions) == (file is not None):
        raise UsageError("give --question TEXT or --questions FILE" + (", not both" if questions else ""))
    if file is not None and choices:
        raise UsageError("--choice goes with --question: in a file of questions each has its own choices")
    asked = [Asked(text, choices) for text in questions] if file is None else read_questions(file)
    videos: tuple[str, ...] = ()
    unread = 0
    if sources:
        found = find_videos(sources)
        videos, unread = found.videos, found.unread
        warnings += found.warnings
    elif not any(each.video for each in asked):
        raise UsageError("no SOURCE: name videos, folders, @FILE or - for a list")
    items, again = make_items(asked, videos, base)
    if again:
        warnings.append(f"questions that are there more than once, and asked once: {again}")
    return items, unread


def _run(
    items: list[Item],
    base: Question,
    output: Path,
    shard: Shard | None,
    retry_failed: bool,
    unread: int,
    warnings: list[str],
    json: bool,
    console: Console,
    quiet: bool,
) -> None:
    from time import perf_counter

    from vtcli.batch.run import Batch
    from vtcli.cli.progress import Counter
    from vtcli.session import Session
    from vtcli.trace.text import sanitise_line

    begin = perf_counter()
    with Session(base) as session, Batch(items, session, output, shard=shard, retry_failed=retry_failed) as run:
        resumed = run.resumed
        with Counter(console, run.total, resumed, quiet) as counter:
            for warning in warnings:
                counter.warn(warning)
            if not quiet and run.total > resumed:
                console.print(_plan(run, output), soft_wrap=True)
            try:
                for record in run:
                    error = record["error"]
                    counter.one(record["video"]["path"], error and error["message"])
            except KeyboardInterrupt:
                if not quiet:
                    kept = f"{run.done} of {run.total} questions are answered in {sanitise_line(str(output))}"
                    console.print(f"vt: interrupted; {kept}, the same command goes on", soft_wrap=True)
                raise
        for warning in run.warnings:
            counter.warn(warning)
        summary = {
            "schema": "vt.batch/1",
            "output": str(output),
            "items": run.total,
            "answered": run.done - run.failed,
            "failed": run.failed,
            "resumed": resumed,
            "unread": unread,
            "seconds": round(perf_counter() - begin, 3),
            "warnings": [*warnings, *run.warnings],
        }
    _report(summary, json, quiet, console)


def _plan(run: Batch, output: Path) -> str:
    """One line that says what the run is about to do."""
    from vtcli.trace.text import sanitise_line

    name = sanitise_line(str(output))
    if not run.resumed:
        again = ", which all failed before" if run.retried else ""
        return f"questions: {run.total}{again}; the answers go to {name}"
    facts = [f"{run.resumed} of {run.total} questions are answered in {name} from before"]
    if run.failed:
        facts[0] += f", {run.failed} of them with an error"
    again = f", {run.retried} of them once more" if run.retried else ""
    facts.append(f"{run.total - run.resumed} to ask{again}")
    return "; ".join(facts)


def _merge(parts: list[Path], output: Path, gaps: bool, json: bool, console: Console, quiet: bool) -> None:
    from time import perf_counter

    from vtcli.batch.merge import merge
    from vtcli.errors import UsageError

    if not parts:
        raise UsageError("--merge: name the shards' outputs as SOURCE")
    begin = perf_counter()
    merged = merge(parts, output, gaps)
    summary = {
        "schema": "vt.batch/1",
        "output": str(output),
        "items": merged.lines + merged.missing,
        "answered": merged.lines - merged.failed,
        "failed": merged.failed,
        "resumed": merged.lines,
        "unread": 0,
        "seconds": round(perf_counter() - begin, 3),
        "warnings": [f"{merged.missing} items are in none of the files"] if merged.missing else [],
    }
    _report(summary, json, quiet, console)


def _report(summary: dict[str, Any], json: bool, quiet: bool, console: Console) -> None:
    """Prints the summary; exits with SOME_FAILED if an item has no answer or a folder could not be searched."""
    from vtcli.trace.text import dump_json, sanitise_line

    if json:
        print(dump_json(summary, sys.stdout.encoding))
    elif not quiet:
        facts = [f"answered: {summary['answered']}, in {sanitise_line(summary['output'])}"]
        if summary["failed"]:
            facts.append(f"failed: {summary['failed']}, --retry-failed asks again")
        if summary["unread"]:
            facts.append(f"folders that could not be looked into: {summary['unread']}")
        if missing := summary["items"] - summary["answered"] - summary["failed"]:
            facts.append(f"missing: {missing}")
        console.print(f"vt: {'; '.join(facts)}", soft_wrap=True)
    if summary["answered"] < summary["items"] or summary["unread"]:
        raise typer.Exit(SOME_FAILED)


def parse_shard(text: str | None) -> Shard | None:
    """Parses `--shard` (`I/N`); None stands for the whole run. Raises UsageError."""
    from vtcli.batch.items import Shard
    from vtcli.errors import UsageError

    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None:
        raise UsageError(f"--shard {text}: write it as 1/4 for the first of four parts")
    return Shard(int(match[1]), int(match[2]))


def _refuse_addresses(items: list[Item]) -> None:
    from vtcli.errors import UsageError
    from vtcli.video.source import is_address

    if any(is_address(str(item.question.video)) for item in items):
        raise UsageError("--offline and a video on a server exclude each other: download it first")
