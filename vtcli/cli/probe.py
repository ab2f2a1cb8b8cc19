"""`vt probe`: what a video actually contains."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from vtcli.cli import options


def probe(
    video: options.VideoArgument,
    fps: options.PictureRateOption = None,
    stream: options.StreamOption = None,
    read_timeout: options.ReadTimeoutOption = options.READ_TIMEOUT,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show what a video actually contains: frames, times, displayed size, keyframes, colours, streams, problems."""
    from vtcli.cli.console import warn
    from vtcli.trace.text import dump_json, sanitise_line
    from vtcli.video.guard import Guard
    from vtcli.video.source import resolve

    limit = options.read_limit(read_timeout)
    with Guard(limit) as guard, resolve(video, fps, stream, limit) as source:
        # The child returns plain data, so FFmpeg and numpy need not be loaded in this process too.
        record = guard.run(source, "vtcli.video.details:describe", source)
        record["warnings"] += guard.warnings
    if json:
        print(dump_json(record, sys.stdout.encoding))
        return
    for line in _lines(record):
        print(sanitise_line(line))
    for warning in record["warnings"]:
        warn(warning)


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The record `vt.probe/1` as readable lines."""
    size = f", {_bytes(record['bytes'])}" if record["bytes"] else ""
    yield f"file      {record['path']}"
    yield f"format    {record['container_name']}{size}"
    yield f"video     {record['codec']}, {record['width']}×{record['height']} as displayed{_geometry(record)}"
    if record["pixel_format"]:
        yield f"colours   {_colours(record)}"
    apart = f"variable: up to {record['longest_interval']:.3g} s apart" if record["variable_rate"] else "evenly spaced"
    rate = f"{record['frames']} at {record['fps']:.4g} a second"
    yield f"frames    {rate}" + (f", {apart}" if record["frames"] > 1 else "")
    if record["key_frames"] is not None and record["longest_group"] is not None:
        number = "1 key frame" if record["key_frames"] == 1 else f"{record['key_frames']} key frames"
        yield f"keys      {number}, a group lasts up to {record['longest_group']:.3g} s"
    yield f"duration  {record['duration']:.3f} s, from {record['start']:.3f} s on the file's clock"
    for each in record["streams"]:
        read = "  ← read" if each["index"] == record["stream"] and len(record["streams"]) > 1 else ""
        yield f"stream {each['index']}  {_stream(each)}{read}"


def _geometry(record: Mapping[str, Any]) -> str:
    """What turns the stored picture into the displayed one: aspect, rotation, interlacing."""
    notes = []
    width, height = record["stored"]
    upright = [height, width] if record["rotation"] % 180 == 90 else [width, height]
    if upright != [record["width"], record["height"]]:
        notes.append(f"{width}×{height} stored, pixels {record['pixel_aspect']}")
    if record["rotation"]:
        notes.append(f"turned by {record['rotation']}°")
    if record["interlaced"]:
        notes.append("interlaced")
    return "".join(f", {note}" for note in notes)


def _colours(record: Mapping[str, Any]) -> str:
    color = record["color"]
    codes = list(dict.fromkeys(filter(None, (color["matrix"], color["primaries"], color["transfer"]))))
    bits = f"{record['bits']} bits" if record["bits"] else None
    hdr = f"HDR ({color['hdr']})" if color["hdr"] else None
    return ", ".join(filter(None, (record["pixel_format"], bits, "/".join(codes), color["range"], hdr)))


def _stream(stream: Mapping[str, Any]) -> str:
    kind = "cover art" if stream["kind"] == "picture" else stream["kind"]
    size = f"{stream['width']}×{stream['height']}" if stream["width"] else None
    sound = f"{stream['rate'] / 1000:g} kHz {stream['layout'] or ''}".strip() if stream["rate"] else None
    length = f"{stream['duration']:.2f} s" if stream["duration"] is not None else None
    parts = (f"{kind} {stream['codec'] or '(no decoder here)'}", size, sound, stream["language"], length)
    return ", ".join(filter(None, parts))


def _bytes(count: int) -> str:
    """Formats a byte count as `ls --si` does: 1.4 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
