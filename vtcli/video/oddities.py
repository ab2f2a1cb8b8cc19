"""Warns about unusual properties of a video that change what the model sees: one warning each."""

from __future__ import annotations

from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.video.picture import orientation

# Transfer functions whose code values differ from those of a normal screen (ITU-T H.273, table 3).
_HDR = {16: "PQ", 18: "HLG"}


def oddities(container: InputContainer, stream: VideoStream, frame: VideoFrame, chosen: bool) -> list[str]:
    """Returns warnings about `stream`, whose first frame is `frame`; `chosen`: whether the user named the stream."""
    found = []
    turn, _ = orientation(frame)
    if turn % 90:
        found.append(f"the video is turned by {turn} degrees, which is not applied")
    if frame.color_trc in _HDR:
        found.append(f"the video is HDR ({_HDR[frame.color_trc]}): its colours are not mapped to a normal screen's")
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
