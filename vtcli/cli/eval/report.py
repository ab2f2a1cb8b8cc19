"""`vt eval report`: rebuilds a run's tables, predictions and report from its answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options
from vtcli.cli.eval import shared

if TYPE_CHECKING:
    from vtcli.evals.report import Report


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Folder of a run; several make one table.", show_default=False)
    ],
    extract: shared.ReportExtractOption = None,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Rebuild a run's scores and reports from its answers; for several runs, print the paper's table."""
    from vtcli.evals.report import make_report, paper_table
    from vtcli.evals.runs import open_run
    from vtcli.evals.tables import text_table
    from vtcli.trace.text import dump_json, sanitise

    reports = [make_report(open_run(folder), extract) for folder in folders]
    for each in reports:
        write_report(each)
    if json and len(reports) == 1:
        print(dump_json(reports[0].as_json(), sys.stdout.encoding))
    elif json:
        print(dump_json({"schema": "vt.reports/1", "reports": [r.as_json() for r in reports]}, sys.stdout.encoding))
    elif len(reports) == 1:
        print(sanitise("\n".join(report_lines(reports[0]))))
    else:
        print(sanitise(text_table(*paper_table(reports))))


def write_report(report: Report) -> None:
    """Writes predictions, scores.json, report.md and report.html into the run's folder. Raises VtError."""
    import json

    from vtcli.disk import write_whole
    from vtcli.evals.html import page
    from vtcli.evals.report import markdown
    from vtcli.evals.runs import prediction_line

    run = report.run
    answers = run.answers()
    names = {frames: f"predictions-{str(frames).replace(' ', '')}.jsonl" for frames in run.frames}
    if len(names) == 1:
        names = dict.fromkeys(names, "predictions.jsonl")
    for frames, name in names.items():
        lines = (prediction_line(prediction) + "\n" for prediction in run.predictions(frames, answers))
        write_whole(run.folder / name, "".join(lines))
    for stale in run.folder.glob("predictions*.jsonl"):  # left from before more frame counts were added
        if stale.name not in names.values():
            stale.unlink()
    write_whole(run.folder / "scores.json", json.dumps(report.as_json(), indent=2) + "\n")
    write_whole(run.folder / "report.md", markdown(report))
    write_whole(run.folder / "report.html", page(report))


def report_lines(report: Report) -> Iterator[str]:
    """A run as readable lines: per frame count a headline, what is missing, and tables."""
    from vtcli.evals.report import category_rows, headline, published_rows, shortfalls
    from vtcli.evals.tables import text_table
    from vtcli.trace.text import sanitise_line

    kind = report.run.config["kind"]
    yield f"{report.run.config['title']}: {report.run.name}"
    for setting in report.settings:
        record = setting.record
        yield headline(kind, record)
        for note in shortfalls(record, report.run.config["samples"]):
            yield f"  {sanitise_line(note)}"
        score = record["score"]
        if score is None:
            continue
        if len(score["by_extract"]) > 1 and kind == "choice":
            yield "  " + ", ".join(f"{rule} {value:.2f} %" for rule, value in score["by_extract"].items())
        if record["chance"] is not None:
            yield f"  guessing would give {record['chance']:.2f} %"
        if score["samples"]:
            passed = ", ".join(f"pass@{k} {value:.2f}" for k, value in score["samples"]["pass"].items())
            yield f"  {passed}, majority {score['samples']['majority']:.2f}"
        if kind == "choice" and score["by_category"]:
            yield ""
            yield text_table(*category_rows(record))
        if record["published"]:
            yield ""
            yield text_table(*published_rows(report.run.name, record))
        yield ""
    yield f"all answers and the report are in {report.run.folder}"
