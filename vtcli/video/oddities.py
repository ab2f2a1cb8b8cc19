"""Warns about unusual properties of a video that change what the model sees: one warning each."""

from __future__ import annotations

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.video.picture import orientation

#: Transfer functions whose code values differ from those of a normal screen (ITU-T H.273, table 3).
HDR = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2


def oddities(container: InputContainer, stream: VideoStream, frame: VideoFrame, chosen: bool) -> list[str]:
    """Returns warnings about `stream`, whose first frame is `frame`; `chosen`: whether the user named the stream."""
    found = []
    turn, _ = orientation(frame)
    if turn % 90:
        found.append(f"the video is turned by {turn} degrees, which is not applied")
    transfer = transfer_of(stream, frame)
    if transfer in HDR:
        found.append(f"the video is HDR ({HDR[transfer]}): its colours are not mapped to a normal screen's")
    if frame.interlaced_frame:
        found.append("the video is interlaced: its fields are read as one picture, and what moves has combed edges")
    if stream.metadata.get("alpha_mode") == "1":
        found.append("the video's transparency is not read: transparent parts show the colours stored there")
    films = [
        s
        for s in container.streams.video
        if s.codec_context is not None and not s.disposition & Disposition.attached_pic
    ]
    if len(films) > 1 and not chosen:
        names = ", ".join(f"{s.index} ({s.width}×{s.height})" for s in films)
        found.append(f"the file holds several video streams, {names}: {stream.index} is read, --stream N takes another")
    return found


def transfer_of(stream: VideoStream, frame: VideoFrame) -> int:
    """Returns the transfer function of `frame` (H.273, table 3): the frame's own, else the one the container states.

    FFmpeg's HEVC decoder sets both the frame's value and the stream's to "unspecified" where the bitstream states
    none, even if the container does.
    """
    return int(frame.color_trc) if frame.color_trc != _UNSPECIFIED else _stated_transfer(stream)


def _stated_transfer(stream: VideoStream) -> int:
    """Returns the transfer function that the demuxer found, which decoding does not change.

    PyAV shows the demuxer's parameters only in a new stream made from them; "null" writes no file.
    """
    with av.open("-", "w", format="null") as nowhere:
        return int(nowhere.add_stream_from_template(stream, opaque=True).codec_context.color_trc)
