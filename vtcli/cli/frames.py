"""`vt frames`: writes the frames the model would see as pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vtcli.cli import options


def frames(
    video: options.VideoArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.", show_default=False)
    ],
    frames: options.FramesOption = None,
    fps: options.FpsOption = None,
    max_pixels: options.MaxPixelsOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    stream: options.StreamOption = None,
    reader: options.ReaderOption = "auto",
    read_timeout: options.ReadTimeoutOption = options.READ_TIMEOUT,
    picture_format: Annotated[
        Literal["png", "jpeg"],
        typer.Option("--format", help="File format of the pictures.", rich_help_panel=options.OUTPUT_PANEL),
    ] = "png",
    no_sheet: Annotated[
        bool, typer.Option("--no-sheet", help="Do not write a contact sheet.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Write the frames the model would see as pictures, with a contact sheet.

    Each picture is named by its number and time; `frames.json` describes them.
    Frames of an earlier run in the folder are replaced.
    """
    from vtcli.cli.console import warn
    from vtcli.trace.text import dump_json, sanitise_line
    from vtcli.video.export import check_folder, export_frames
    from vtcli.video.guard import Guard
    from vtcli.video.sampling import VIDEO_MAX_PIXELS, FrameRequest, plan_frames
    from vtcli.video.source import resolve

    frames = options.frame_count(frames, fps, video)
    limit = options.read_limit(read_timeout)
    check_folder(output)  # fails before the video is read in vain
    with Guard(limit) as guard, resolve(video, fps, stream, limit) as source:
        count, rate = source.sampling(frames, fps)
        request = FrameRequest(
            frames=count,
            fps=rate,
            start=start,
            end=end,
            max_pixels=VIDEO_MAX_PIXELS if max_pixels is None else max_pixels,
        )
        info = guard.probe(source)
        read = guard.read_frames(info, plan_frames(info, request), request, reader)
    warnings = list(dict.fromkeys((*info.warnings, *read.plan.warnings, *read.warnings)))
    record = export_frames(info, read, output, picture_format, not no_sheet, warnings)
    if json:
        print(dump_json(record, sys.stdout.encoding))
        return
    for file in record["files"]:
        print(sanitise_line(file))
    for warning in warnings:
        warn(warning)
    if record["sheet"]:
        print(f"vt: all {len(record['files'])} frames on one sheet: {sanitise_line(record['sheet'])}", file=sys.stderr)
