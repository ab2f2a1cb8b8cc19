"""`vt frames`: the frames the model would see, as pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from vtcli.video.reader import Frames

SCHEMA = "vt.frames/1"


def frames(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.", show_default=False)
    ],
    frames: options.FramesOption = None,
    fps: options.FpsOption = None,
    max_pixels: options.MaxPixelsOption = None,
    start: options.StartOption = None,
    end: options.EndOption = None,
    reader: options.ReaderOption = "auto",
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Write the frames the model would see as PNG files, named by number and time."""
    from vtcli.cli.console import warn
    from vtcli.trace.text import dump_json, sanitise_line
    from vtcli.video.probe import probe
    from vtcli.video.reader import read_frames
    from vtcli.video.sampling import VIDEO_MAX_PIXELS, FrameRequest, plan_frames

    request = FrameRequest(
        frames=options.frame_count(frames, fps),
        fps=fps,
        start=start,
        end=end,
        max_pixels=VIDEO_MAX_PIXELS if max_pixels is None else max_pixels,
    )
    info = probe(video)
    read = read_frames(info, plan_frames(info, request), request, reader)
    files = _write(read, output)
    warnings = list(dict.fromkeys((*info.warnings, *read.plan.warnings, *read.warnings)))
    if json:
        record = {
            "schema": SCHEMA,
            "video": info.as_json(),
            "sampling": read.as_json(),
            "files": files,
            "warnings": warnings,
        }
        print(dump_json(record, sys.stdout.encoding))
        return
    for file in files:
        print(sanitise_line(file))
    for warning in warnings:
        warn(warning)


def _write(read: Frames, folder: Path) -> list[str]:
    """Writes one PNG a frame into `folder`, made where it is missing; returns their paths in order."""
    from PIL import Image

    from vtcli.errors import VtError

    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (time, picture) in enumerate(zip(read.times, read.pixels, strict=True)):
            file = folder / f"{number:03}_{time:.3f}s.png"
            Image.fromarray(picture).save(file)
            files.append(str(file))
    except OSError as error:
        raise VtError(f"the frames cannot be written to {folder}: {error.strerror or error}") from None
    return files
