"""Flags shared by several commands, declared once so that they read and behave the same everywhere.

This module imports only typer, because `vt --help` and every TAB completion load it.
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
    """Parses `SS(.s)`, `MM:SS` or `H:MM:SS` into seconds; fields after a colon must be below 60."""
    match = _TIME.fullmatch(text.strip())
    if match:
        hours, minutes, seconds = match.groups()
        if minutes is None or float(seconds) < 60:
            return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
    raise typer.BadParameter(f"'{text}' is not a time; write SS(.s), MM:SS or H:MM:SS")


def frame_count(frames: int | None, fps: float | None, video: str) -> int | None:
    """Resolves --frames and --fps to a frame count: the paper's if neither is given, None if --fps decides.

    For a folder of pictures, --fps is the folder's own frame rate, so both may be given. For any other video, giving
    both raises UsageError.
    """
    from vtcli.errors import UsageError

    if os.path.isdir(video):
        return PAPER_FRAMES if frames is None else frames
    if frames is not None and fps is not None:
        raise UsageError("--frames and --fps exclude each other: give one")
    return PAPER_FRAMES if frames is None and fps is None else frames


def read_limit(read_timeout: float) -> float | None:
    """Converts --read-timeout to a limit in seconds; 0 becomes None, no limit."""
    return read_timeout or None


MODEL_PANEL = "Model"
FRAMES_PANEL = "Frames"
ANSWER_PANEL = "Generation"
OUTPUT_PANEL = "Output"

VideoArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO",
        help="Video file, http(s) URL, - for standard input, or folder of numbered pictures (needs --fps).",
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
        help="Model to use: a name from `vt models`, OWNER/REPO on the hub, a checkpoint folder or a GGUF file.",
        show_default="the installed model that suits this machine best",
        rich_help_panel=MODEL_PANEL,
    ),
]
ProjectorOption = Annotated[
    str | None,
    typer.Option(
        "--mmproj",
        metavar="FILE",
        help="Vision tower file of a GGUF model (default: found beside the model file).",
        rich_help_panel=MODEL_PANEL,
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        help="Inference engine; auto is llama-cpp for GGUF files, else transformers; openai is not in this version.",
        rich_help_panel=MODEL_PANEL,
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="URL of an OpenAI-compatible server (not in this version).",
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        envvar="VT_DEVICE",
        help="Device to run the model on; auto picks the best one available.",
        show_default="auto",
        rich_help_panel=MODEL_PANEL,
    ),
]
CompileOption = Annotated[
    Compile,
    typer.Option(
        "--compile",
        help="Compile the decode step: on takes a while at first; auto captures CUDA graphs on CUDA; off does neither.",
        rich_help_panel=MODEL_PANEL,
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never use the network.", rich_help_panel=MODEL_PANEL)]
YesOption = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Download a missing model without asking for confirmation.", rich_help_panel=MODEL_PANEL
    ),
]

NoCacheOption = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Neither read nor write the video prefix cache (see `vt cache`).",
        rich_help_panel=MODEL_PANEL,
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        "--frames",
        metavar="N",
        help="Number of frames, sampled evenly from the video.",
        show_default=f"{PAPER_FRAMES}, as in the paper",
        rich_help_panel=FRAMES_PANEL,
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="F",
        help="Frames to sample per second, instead of --frames; for a folder of pictures, its own frame rate.",
        rich_help_panel=FRAMES_PANEL,
    ),
]
PictureRateOption = Annotated[
    float | None,
    typer.Option("--fps", metavar="F", help="Frame rate of a folder of pictures."),
]
StreamOption = Annotated[
    int | None,
    typer.Option(
        "--stream",
        metavar="N",
        help="Index of the video stream to read, as `vt probe` lists it (default: FFmpeg's choice).",
        rich_help_panel=FRAMES_PANEL,
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Maximum number of pixels per frame.",
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
        help="Start of the part to look at: SS(.s), MM:SS or H:MM:SS (default: start of the video).",
        rich_help_panel=FRAMES_PANEL,
    ),
]
EndOption = Annotated[
    float | None,
    typer.Option(
        "--end",
        metavar="T",
        parser=parse_time,
        help="End of the part to look at, as for --start (default: end of the video).",
        rich_help_panel=FRAMES_PANEL,
    ),
]
ReaderOption = Annotated[
    Reader,
    typer.Option("--reader", help="Library that decodes the video; auto is pyav.", rich_help_panel=FRAMES_PANEL),
]
ReadTimeoutOption = Annotated[
    float,
    typer.Option(
        "--read-timeout",
        metavar="SECONDS",
        min=0,
        help="Maximum time for reading the video; 0 for no limit.",
        rich_help_panel=FRAMES_PANEL,
    ),
]

ChoiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        "-c",
        metavar="TEXT",
        help="Option of a multiple-choice question, without its letter; repeat for each option.",
        rich_help_panel=ANSWER_PANEL,
    ),
]
MaxTokensOption = Annotated[
    int,
    typer.Option(
        "--max-tokens", metavar="N", help="Maximum number of tokens to generate.", rich_help_panel=ANSWER_PANEL
    ),
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        "--temperature", metavar="X", help="Sampling temperature; 0 for greedy decoding.", rich_help_panel=ANSWER_PANEL
    ),
]
TopPOption = Annotated[
    float,
    typer.Option(
        "--top-p",
        metavar="X",
        help="Probability mass of nucleus sampling, above 0 and at most 1.",
        rich_help_panel=ANSWER_PANEL,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Random seed for sampling (default: a new one for each question).",
        rich_help_panel=ANSWER_PANEL,
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to stdout.", rich_help_panel=OUTPUT_PANEL)
]
HtmlOption = Annotated[
    str | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write an HTML report to FILE (not in this version).",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the answer.", rich_help_panel=OUTPUT_PANEL)
]
ColorOption = Annotated[
    Color, typer.Option("--color", help="When to print colours and links.", rich_help_panel=OUTPUT_PANEL)
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Print a traceback on failure.", rich_help_panel=OUTPUT_PANEL)
]
