"""`vt probe`: what a video file really holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from vtcli.video.probe import VideoInfo

SCHEMA = "vt.probe/1"


def probe(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.", show_default=False)],
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show what a video file really holds: frames, times, size as displayed, problems."""
    from vtcli.cli.console import warn
    from vtcli.trace.text import dump_json, sanitise_line
    from vtcli.video.probe import probe as run

    info = run(video)
    if json:
        print(dump_json(_record(info), sys.stdout.encoding))
        return
    for line in _lines(info):
        print(sanitise_line(line))
    for warning in info.warnings:
        warn(warning)


def _record(info: VideoInfo) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **info.as_json(),
        "start": info.start,
        "rotation": info.rotation,
        "stream": info.stream,
        "codec": info.codec,
        "times": list(info.times),
        "warnings": list(info.warnings),
    }


def _lines(info: VideoInfo) -> list[str]:
    turned = f", turned by {info.rotation}°" if info.rotation else ""
    return [
        f"file      {info.path}",
        f"video     {info.codec}, {info.width}×{info.height} as displayed{turned} (stream {info.stream})",
        f"frames    {info.frames} at {info.fps:.4g} a second",
        f"duration  {info.duration:.3f} s, from {info.start:.3f} s on the file's clock",
    ]
