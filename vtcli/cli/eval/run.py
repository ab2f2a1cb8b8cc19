"""`vt eval run`: asks a benchmark's questions, resumes where it stopped, and scores the answers."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options
from vtcli.cli.asking import Asking, asks_a_model, make_question
from vtcli.cli.eval import shared

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.evals.running import Settings, Source

RUN_PANEL = "Run"


@asks_a_model(without=("no_cache", "start", "end", "stream", "choice"))
def run(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="Name from `vt eval list`, or jsonl:FILE for your own questions.",
            show_default=False,
        ),
    ],
    *,
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos",
            metavar="DIR",
            help="Folder of the benchmark's videos; optional for shapes and jsonl:FILE.",
            show_default=False,
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            metavar="PATH",
            help="Official annotation file or folder (default: found beside the videos, then on the hub).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the run.", show_default="vt-eval/BENCHMARK-MODEL"
        ),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option("--prompt", metavar="NAME", help="Prompt style: paper, official, video-r1 or plain."),
    ] = "paper",
    extract: shared.RunExtractOption = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="K", min=1, max=1000, help="Number of replies per question.")
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Ask only the first N questions.", show_default=False),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Retry the questions that failed before.", rich_help_panel=RUN_PANEL),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Run only part I of N; give all parts the same folder, and `vt eval report` joins them.",
            show_default=False,
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    asking: Asking,
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            metavar="N[,N…]",
            help="Number of frames, sampled evenly from the video; with several numbers, each is run.",
            show_default=f"{options.PAPER_FRAMES}, as in the paper",
            rich_help_panel=options.FRAMES_PANEL,
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            metavar="F",
            help="Frames to sample per second, instead of --frames.",
            rich_help_panel=options.FRAMES_PANEL,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            help="Random seed of the first reply to a question; the next replies count up from it.",
            rich_help_panel=options.ANSWER_PANEL,
        ),
    ] = 0,
    json: options.JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Run a benchmark and score the answers.

    Running the same command again resumes where the last run stopped.
    More --frames or --samples may be added to a run.
    """
    from vtcli.cli.batch import parse_shard
    from vtcli.cli.console import make_console
    from vtcli.evals.benchmarks.prompts import prompt_for
    from vtcli.evals.captions import require_packages
    from vtcli.evals.running import Settings, source
    from vtcli.scoring.official import rules_named
    from vtcli.settings import cache_folder

    counts, part = _counts(frames, fps), parse_shard(shard)
    rules_named(extract or [])  # refuse an unknown rule before anything is read
    found = source(benchmark, annotations, videos, limit, cache_folder() / "evals", asking.offline)
    prompt_for(prompt, found.benchmark.official)
    if found.benchmark.kind == "captioning":
        require_packages()
    rules = rules_named(extract or [*dict.fromkeys(("paper", "strict", found.benchmark.rule))])
    # Last, because it may download a model.
    base = make_question(
        replace(asking, frames=counts[0] if counts else None, fps=fps, seed=seed),
        "",
        "",
        keep=False,
        quiet=quiet,
        color=color,
    )
    settings = Settings(base, counts, samples, prompt, rules, part, retry_failed)
    _run(found, settings, output, make_console(color, stderr=True), json, quiet)


def _run(found: Source, settings: Settings, output: Path | None, console: Console, json: bool, quiet: bool) -> None:
    from vtcli.cli.eval.report import report_lines, write_report
    from vtcli.cli.progress import Counter
    from vtcli.evals.benchmarks.table import SHAPES
    from vtcli.evals.report import make_report
    from vtcli.evals.running import answer_all, environment, open_batch
    from vtcli.session import Session
    from vtcli.trace.text import dump_json, sanitise, sanitise_line

    with Session(settings.question) as session:
        folder = output or Path("vt-eval") / _file_name(f"{found.benchmark.name}-{session.checkpoint.name}")
        if found.benchmark.name == SHAPES and not quiet:
            console.print("making the clips that are not there yet", soft_wrap=True)
        with (
            open_batch(folder, found, settings, session) as running,
            Counter(console, running.total, running.done, quiet) as counter,
        ):
            run, coming = running.run, running.total - running.done
            before = make_report(run, settings.extract[:1])
            right = [item.score for setting in before.settings for item in setting.judged.scored]
            for warning in _warnings(settings, run.config["environment"], environment()):
                counter.warn(warning)
            if not quiet and coming:
                there = f"{running.done} of {running.total} answers are there from before; " if running.done else ""
                console.print(f"{there}{coming} to come, into {sanitise_line(str(folder))}", soft_wrap=True)
            try:
                for progress in answer_all(running, settings, counter.warn):
                    right.append(progress.scored.score)
                    error = progress.record["error"]
                    note = f"{100 * sum(right) / len(right):.1f} % right" if found.benchmark.kind == "choice" else ""
                    counter.one(progress.scored.id, error and error["message"], note)
            except KeyboardInterrupt:
                if not quiet:
                    console.print("vt: interrupted; what is answered is kept, the same command goes on", soft_wrap=True)
                raise
    report = make_report(run, settings.extract)
    write_report(report)
    if json:
        print(dump_json(report.as_json(), sys.stdout.encoding))
    elif not quiet:
        print(sanitise("\n".join(report_lines(report))))
    if any(setting.record["missing"] or setting.record["failed"] for setting in report.settings):
        raise typer.Exit(shared.FAILED)


def _counts(frames: str | None, fps: float | None) -> tuple[int, ...] | None:
    """The frame counts of --frames, ascending, or None if --fps is given. Raises UsageError."""
    from vtcli.errors import UsageError

    if fps is not None:
        if frames is not None:
            raise UsageError("--frames and --fps exclude each other: give one")
        if not 0.001 <= fps <= 1000:
            raise UsageError(f"--fps {fps:g}: give 0.001 to 1000 frames a second")
        return None
    text = str(options.PAPER_FRAMES) if frames is None else frames
    if not re.fullmatch(r"\d{1,5}(,\d{1,5})*", text, re.ASCII):
        raise UsageError(f"--frames {text}: give a number, or several with commas between, as 16,32,64")
    return tuple(sorted({int(count) for count in text.split(",")}))


def _warnings(settings: Settings, began: dict[str, str], now: dict[str, str]) -> list[str]:
    warnings = []
    sampling = settings.question.sampling
    if settings.samples > 1 and (sampling.temperature == 0 or sampling.top_p <= 0.001):
        warnings.append("--samples with so small a --temperature or --top-p draws the same reply each time")
    changed = [f"{name} {began.get(name, 'none')}, now {text}" for name, text in now.items() if began.get(name) != text]
    if changed:
        warnings.append(f"the run began with {'; '.join(changed)}")
    return warnings


def _file_name(text: str) -> str:
    """Makes a valid file name from any model name."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.")[:100] or "run"
