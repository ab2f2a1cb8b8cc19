"""The reader that runs everywhere: PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Literal

from av.video.frame import VideoFrame

from vtcli.video.container import PacketReader, decode_packet, open_video
from vtcli.video.picture import Picture, picture
from vtcli.video.probe import VideoInfo
from vtcli.video.readers.base import SAME_TIME
from vtcli.video.readers.sparse import sparse_pictures
from vtcli.video.sampling import FramePlan

TimedFrame = tuple[float | None, VideoFrame]  # seconds from the start of the video


class PyAVReader:
    """Seeks to the frames if the packet index allows it, else decodes the file sequentially.

    `odd` receives the indices of the frames whose size differs from that of the file's first frame.
    """

    name = "pyav"

    def __init__(self, odd: set[int] | None = None) -> None:
        self._odd = odd

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture] | None:
        pictures = sparse_pictures(info, plan, self._odd)
        return pick(info, plan, decode(info, threads="AUTO"), self._odd) if pictures is None else pictures


def decode(info: VideoInfo, threads: Literal["AUTO", "SLICE"]) -> Iterator[TimedFrame]:
    """Yields every frame that decodes, in presentation order, with its time from the start of the video (s).

    A damaged packet costs only its own frames. Frame threading (AUTO) is faster but loses more around an error. A time
    is None if the file does not store it.
    """
    is_untimed = info.packets is not None and info.packets.is_untimed
    with open_video(info.video) as (container, stream):
        stream.thread_type = threads
        base = stream.time_base or Fraction(1)
        zero = round(info.start / base)
        for packet in chain(PacketReader(container, stream), (None,)):
            for frame in decode_packet(stream, packet):
                # As in probe: integer ticks divided once, so that equal times are equal floats.
                ticks = None if frame.pts is None or is_untimed else frame.pts - zero
                yield None if ticks is None else ticks * base.numerator / base.denominator, frame


def pick(
    info: VideoInfo, plan: FramePlan, decoded: Iterable[TimedFrame], odd: set[int] | None = None
) -> dict[int, Picture] | None:
    """Returns the pictures at the plan's indices; None if one is missing or is not shown at its time in `info`.

    `odd`: as in `PyAVReader`.
    """
    wanted = set(plan.indices)
    pictures: dict[int, Picture] = {}
    for index, (time, frame) in enumerate(decoded):
        if index not in wanted:
            continue
        if time is not None and abs(time - info.times[index]) > SAME_TIME:
            return None
        if odd is not None and (frame.width, frame.height) != info.stored:
            odd.add(index)
        pictures[index] = picture(frame, info.rotation, plan.width, plan.height, info.mirrored)
        if len(pictures) == len(wanted):
            return pictures
    return None
