"""`vt ask`: one question, one trace, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.ask import Question
    from vtcli.engines.prefix import PrefixStore
    from vtcli.history import History


def ask(
    video: options.VideoArgument,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to find out.", show_default=False)],
    model: options.ModelOption = None,
    mmproj: options.ProjectorOption = None,
    engine: options.EngineOption = "auto",
    endpoint: options.EndpointOption = None,
    device: options.DeviceOption = None,
    compile: options.CompileOption = "auto",
    no_cache: options.NoCacheOption = False,
    yes: options.YesOption = False,
    offline: options.OfflineOption = False,
    frames: options.FramesOption = None,
    fps: options.FpsOption = None,
    max_pixels: options.MaxPixelsOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    stream: options.StreamOption = None,
    reader: options.ReaderOption = "auto",
    read_timeout: options.ReadTimeoutOption = options.READ_TIMEOUT,
    choice: options.ChoiceOption = None,
    max_tokens: options.MaxTokensOption = 1024,
    temperature: options.TemperatureOption = 0.1,
    top_p: options.TopPOption = 0.001,
    seed: options.SeedOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what the model would be shown; load nothing.", rich_help_panel=options.OUTPUT_PANEL
        ),
    ] = False,
    json: options.JsonOption = False,
    html: options.HtmlOption = None,
    quiet: options.QuietOption = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Ask one question about a video: the trace goes to stderr, the answer to stdout."""
    asked = make_question(
        video=video,
        question=question,
        model=model,
        mmproj=mmproj,
        engine=engine,
        endpoint=endpoint,
        device=device,
        compile=compile,
        keep=not (no_cache or dry_run),
        yes=yes,
        offline=offline,
        frames=frames,
        fps=fps,
        max_pixels=max_pixels,
        start=start,
        end=end,
        stream=stream,
        reader=reader,
        read_timeout=read_timeout,
        choices=tuple(choice or ()),
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        html=html,
        quiet=quiet,
        color=color,
    )
    if dry_run:
        show_plan(asked, json)
    else:
        from vtcli.settings import history

        show_answer(asked, json, quiet, color, history())


def make_question(
    *,
    video: str,
    question: str,
    model: str | None,
    mmproj: str | None,
    engine: options.Engine,
    endpoint: str | None,
    device: options.Device | None,
    compile: options.Compile,
    keep: bool,
    yes: bool,
    offline: bool,
    frames: int | None,
    fps: float | None,
    max_pixels: int | None,
    start: float | None,
    end: float | None,
    stream: int | None,
    reader: options.Reader,
    read_timeout: float,
    choices: tuple[str, ...],
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    html: str | None,
    quiet: bool,
    color: options.Color,
) -> Question:
    """What the flags that commands share come to, with the user's defaults. `keep`: between processes.

    The model is on this machine afterwards: with `yes`, or when agreed to on the terminal, it is pulled.
    """
    _refuse_what_is_missing(engine, endpoint, html)
    from vtcli.engines.base import SamplingOptions
    from vtcli.errors import UsageError
    from vtcli.video.source import is_address

    frames = options.frame_count(frames, fps, video)
    if offline and is_address(video):
        raise UsageError("--offline and a video on a server exclude each other: download it first")
    if seed is not None and not 0 <= seed < 2**63:
        raise UsageError(f"--seed {seed}: give a number from 0 to 2^63 - 1")
    named, device_used = _defaults(model, device)
    from pathlib import Path

    from vtcli.ask import Question
    from vtcli.cli.ensure import ensure_model

    return Question(
        video=video,
        question=question,
        model=ensure_model(named, yes, offline, quiet, color),
        projector=Path(mmproj).expanduser() if mmproj else None,
        engine=engine,
        choices=choices,
        frames=frames,
        fps=fps,
        start=start,
        end=end,
        max_pixels=max_pixels,
        stream=stream,
        reader=reader,
        read_timeout=options.read_limit(read_timeout),
        device=device_used,
        compile=compile,
        store=_store() if keep else None,
        sampling=SamplingOptions(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed),
    )


def show_answer(question: Question, json: bool, quiet: bool, color: options.Color, past: History | None = None) -> None:
    """Answers `question`: trace and warnings on stderr unless `quiet`, the answer or the record on stdout.

    The record is kept in `past`.
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
    """Prints an answer that is safe to print."""
    if console.is_terminal:
        console.print(answer, style="bold green", soft_wrap=True)
    else:  # to the character: Rich expands tabs
        print(answer)


def show_plan(question: Question, json: bool) -> None:
    """Prints the plan of `question` on stdout."""
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


def _store() -> PrefixStore | None:
    """Where what is computed of videos is kept; None where config.toml allows no space."""
    from vtcli.settings import prefix_store

    store = prefix_store()
    return store if store.limit else None


def _defaults(model: str | None, device: str | None) -> tuple[str | None, str]:
    """Model and device with config.toml's defaults under the flags and the environment."""
    from vtcli.settings import load_settings

    settings = load_settings()
    return model or settings.model, device or settings.device or "auto"


def _refuse_what_is_missing(engine: str, endpoint: str | None, html: str | None) -> None:
    from vtcli.errors import EngineError, VtError

    if engine == "openai":
        raise EngineError("--engine openai is not in this version: give a model folder or a GGUF file with -m")
    if endpoint is not None:
        raise EngineError("--endpoint is not in this version: give a model folder or a GGUF file with -m")
    if html is not None:
        raise VtError("--html is not in this version: use --json for the whole record")
