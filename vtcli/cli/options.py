"""The flags that several commands share, declared once so that they read and behave the same everywhere.

Only typer is imported: this module is loaded by `vt --help` and on every TAB.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

import typer

Engine = Literal["auto", "transformers", "llama-cpp", "openai"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Compile = Literal["auto", "on", "off"]
Reader = Literal["auto", "pyav", "decord", "torchcodec"]
Color = Literal["auto", "always", "never"]

PAPER_FRAMES = 16
READ_TIMEOUT = 600.0  # seconds
_TIME = re.compile(r"(?:(?:(\d+):(?=[0-5]?\d:))?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)


def parse_time(text: str) -> float:
    """Seconds from `SS(.s)`, `MM:SS` or `H:MM:SS`; the fields after a colon stay below 60."""
    match = _TIME.fullmatch(text.strip())
    if match:
        hours, minutes, seconds = match.groups()
        if minutes is None or float(seconds) < 60:
            return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
    raise typer.BadParameter(f"'{text}' is not a time; write SS(.s), MM:SS or H:MM:SS")


def frame_count(frames: int | None, fps: float | None, video: str) -> int | None:
    """What --frames and --fps come to: the paper's number where neither is given. Raises UsageError for both.

    The two go together for a folder of pictures, whose own rate --fps is.
    """
    from vtcli.errors import UsageError

    if os.path.isdir(video):
        return PAPER_FRAMES if frames is None else frames
    if frames is not None and fps is not None:
        raise UsageError("--frames and --fps exclude each other: give one")
    return PAPER_FRAMES if frames is None and fps is None else frames


def read_limit(read_timeout: float) -> float | None:
    """Seconds, None for no limit, from --read-timeout."""
    return read_timeout or None


MODEL_PANEL = "Model"
FRAMES_PANEL = "Frames"
ANSWER_PANEL = "Generation"
OUTPUT_PANEL = "Output"

VideoArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO",
        help="A file, an http(s) address, - for standard input, or a folder of numbered pictures with --fps.",
        show_default=False,
    ),
]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|DIR|FILE.gguf",
        envvar="VT_MODEL",
        help="A name of `vt models`, OWNER/REPO of the hub, a checkpoint folder or a GGUF file.",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
ProjectorOption = Annotated[
    str | None,
    typer.Option(
        "--mmproj",
        metavar="FILE",
        help="Of a GGUF model, the vision tower's file, where it does not lie beside the model's.",
        rich_help_panel=MODEL_PANEL,
    ),
]
EngineOption = Annotated[Engine, typer.Option("--engine", help="What runs the model.", rich_help_panel=MODEL_PANEL)]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="An OpenAI-compatible server (not in this version).",
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        envvar="VT_DEVICE",
        help="Where the model runs; auto takes the best there is.",
        show_default="auto",
        rich_help_panel=MODEL_PANEL,
    ),
]
CompileOption = Annotated[
    Compile,
    typer.Option(
        "--compile",
        help="Compile the steps of generation: on takes a while first; auto captures them on CUDA.",
        rich_help_panel=MODEL_PANEL,
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never use the network.", rich_help_panel=MODEL_PANEL)]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Answer yes to what would be asked.", rich_help_panel=MODEL_PANEL)
]

NoCacheOption = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither use nor keep what is computed of the video.", rich_help_panel=MODEL_PANEL),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        "--frames",
        metavar="N",
        help="Frames taken evenly from the video.",
        show_default=f"{PAPER_FRAMES}, as in the paper",
        rich_help_panel=FRAMES_PANEL,
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="F",
        help="Frames a second, instead of --frames; of a folder of pictures, how many a second they are.",
        rich_help_panel=FRAMES_PANEL,
    ),
]
PictureRateOption = Annotated[
    float | None,
    typer.Option("--fps", metavar="F", help="How many a second the pictures of a folder are."),
]
StreamOption = Annotated[
    int | None,
    typer.Option(
        "--stream",
        metavar="N",
        help="Which video stream of the file, by its number there; without, FFmpeg's choice.",
        rich_help_panel=FRAMES_PANEL,
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Most pixels a frame.",
        show_default="100352 = 128*28*28, as in the paper",
        rich_help_panel=FRAMES_PANEL,
    ),
]
StartOption = Annotated[
    float | None,
    typer.Option(
        "--start",
        metavar="T",
        parser=parse_time,
        help="Look from here on: SS(.s), MM:SS or H:MM:SS.",
        rich_help_panel=FRAMES_PANEL,
    ),
]
EndOption = Annotated[
    float | None,
    typer.Option("--end", metavar="T", parser=parse_time, help="Look up to here.", rich_help_panel=FRAMES_PANEL),
]
ReaderOption = Annotated[Reader, typer.Option("--reader", help="What decodes the video.", rich_help_panel=FRAMES_PANEL)]
ReadTimeoutOption = Annotated[
    float,
    typer.Option(
        "--read-timeout",
        metavar="SECONDS",
        min=0,
        help="Longest the video may take to be read; 0: no limit.",
        rich_help_panel=FRAMES_PANEL,
    ),
]

ChoiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        "-c",
        metavar="TEXT",
        help="One option of a multiple choice, without its letter; repeat.",
        rich_help_panel=ANSWER_PANEL,
    ),
]
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", metavar="N", help="Most tokens to write.", rich_help_panel=ANSWER_PANEL)
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", metavar="X", help="0 is greedy.", rich_help_panel=ANSWER_PANEL)
]
TopPOption = Annotated[
    float,
    typer.Option("--top-p", metavar="X", help="Nucleus sampling's mass.", rich_help_panel=ANSWER_PANEL),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Seed of the sampling; without, each run draws anew.",
        rich_help_panel=ANSWER_PANEL,
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=OUTPUT_PANEL)
]
HtmlOption = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write a report (not in this version).", rich_help_panel=OUTPUT_PANEL),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the answer only.", rich_help_panel=OUTPUT_PANEL)
]
ColorOption = Annotated[Color, typer.Option("--color", help="Colours and links.", rich_help_panel=OUTPUT_PANEL)]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show a traceback where vt fails.", rich_help_panel=OUTPUT_PANEL)
]
