"""`vt eval score`: scores answers written by any tool."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options
from vtcli.cli.eval import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def score(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="JSON Lines file, plain or gzipped, or - for standard input.",
            show_default=False,
        ),
    ],
    extract: shared.ExtractOption = None,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Score answers written by any tool: accuracy, overall and by category, and temporal grounding.

    Each line has the fields id, response and answer; options, category and times are optional.
    """
    from pathlib import Path

    from vtcli.cli.console import warn
    from vtcli.evals.predictions import read_predictions
    from vtcli.evals.scores import judge_all, score_record
    from vtcli.scoring.official import rules_named
    from vtcli.trace.text import dump_json, sanitise

    judged = judge_all(read_predictions(Path(file)), rules_named(extract or ["strict"]))
    record = score_record(judged)
    if json:
        print(dump_json(record, sys.stdout.encoding))
    else:
        print(sanitise("\n".join(score_lines(record))))
    if record["duplicates"]:
        warn(f"{record['duplicates']} lines have the id of a later one and do not count")
    _report_troubles([str(trouble) for trouble in judged.troubles])


def _report_troubles(troubles: list[str], shown: int = 5) -> None:
    """Warns about the lines that could not be scored; if there are any, exits with FAILED."""
    from vtcli.cli.console import warn

    for trouble in troubles[:shown]:
        warn(f"not scored: {trouble}")
    if len(troubles) > shown:
        warn(f"not scored: {len(troubles) - shown} more lines (--json has all)")
    if troubles:
        raise typer.Exit(shared.FAILED)


def score_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The record `vt.score/1` as readable lines."""
    from vtcli.evals.tables import range_text, text_table

    yield (
        f"{record['accuracy']:.2f} % right: {record['correct']} of {record['n']}, "
        f"95 % interval {range_text(record['interval'])}, read by {record['extract']}"
    )
    yield (
        f"{record['unreadable']} unreadable, {record['format_ok']:.2f} % in the paper's format, "
        f"{record['length']['mean']:.0f} characters a reply"
    )
    if len(record["by_extract"]) > 1:
        yield ""
        yield text_table(("read by", "right %"), list(record["by_extract"].items()))
    if record["by_category"]:
        rows = [
            (name, part["n"], part["accuracy"], range_text(part["interval"]), part["unreadable"])
            for name, part in record["by_category"].items()
        ]
        yield ""
        yield text_table(("category", "n", "right %", "95 % interval", "unreadable"), rows)
    if record["grounding"]:
        grounding = record["grounding"]
        yield ""
        yield (
            f"times of {grounding['n']} replies against {grounding['spans']} true ones, "
            f"{grounding['untimed']} replies tell none"
        )
        names = ("miou", "r@0.3", "r@0.5", "r@0.7", "r1@0.5", "union_miou", "rec@iou", "acc@iou", "map")
        yield text_table(names, [[grounding[name] for name in names]])
    if record["samples"]:
        samples = record["samples"]
        passed = ", ".join(f"pass@{k} {value:.2f}" for k, value in samples["pass"].items())
        yield ""
        yield (
            f"{samples['questions']} questions, {samples['k']} replies each: {passed}, "
            f"majority {samples['majority']:.2f}, agreement {samples['agreement']:.2f}"
        )
