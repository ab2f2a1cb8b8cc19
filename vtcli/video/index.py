"""Indexes the packets of a video stream in decoding order: when each is shown, and where decoding can start.

Plain MP4 and QuickTime files have this in their sample tables, which are used if they agree with FFmpeg's own index of
the file and with the packets that are checked. For all other files, and in doubt, all packets are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.errors import VideoError
from vtcli.video.container import PacketReader, decode_packet, open_bytes
from vtcli.video.fields import fields_of
from vtcli.video.mp4 import SampleTables, Ticks, sample_tables
from vtcli.video.source import Source

NO_TIME = -(2**63)  # FFmpeg's AV_NOPTS_VALUE
_COMPARED = 256  # index entries compared with the tables: evenly spread, and as many key packets
_EDGE = 32  # and this many at either end, where edit lists hide frames
_DELAY = 64  # packets that may be sent before the first frame comes out; frame reordering takes at most 16
# Containers that may store decoding times alone, from which FFmpeg then makes up presentation times.
_UNTIMED = {"avi", "asf", "asf_o", "mxf", "mxf_opatom"}


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """The packets of one stream in decoding order.

    pts, dts: ticks of the stream's time base, NO_TIME where a packet has none. key: whether decoding can start there.
    shown: whether the packet becomes a frame of the video; of two fields in separate packets, only the first does.
    last_length: duration of the frame shown last, ticks, 0 if unknown. leading: frames that would be shown before the
    first one that decodes, in a file that begins in the middle of a group of pictures; they are not `shown`.
    """

    pts: Ticks
    dts: Ticks
    key: npt.NDArray[np.bool_]
    shown: npt.NDArray[np.bool_]
    last_length: int
    leading: int = 0

    @cached_property
    def order(self) -> Ticks | None:
        """The packet of each frame, by frame number; None unless all frames have distinct times on one clock."""
        packets = np.flatnonzero(self.shown)
        pts = self.pts[packets]
        order = np.argsort(pts, kind="stable")
        ascending = pts[order]
        if (pts == NO_TIME).any() or (ascending[1:] == ascending[:-1]).any() or self.jumps:
            return None
        return packets[order]

    @property
    def is_untimed(self) -> bool:
        """Whether no packet has a presentation time."""
        return bool((self.pts == NO_TIME).all())

    @property
    def jumps(self) -> bool:
        """Whether the clock jumps back, as in concatenated recordings."""
        decoding = self.dts[self.shown & (self.dts != NO_TIME)]
        return bool((decoding[1:] < decoding[:-1]).any())


def read_index(
    container: InputContainer, stream: VideoStream, reader: PacketReader, source: Source
) -> tuple[PacketIndex, VideoFrame | None]:
    """Returns the index of `stream`, and its first frame or None where nothing can be decoded."""
    tables = _agreed_tables(container, stream, source)
    if tables is not None:
        found = _from_tables(container, stream, reader, tables)
        if found is not None:
            return _without_leading(*found), found[1]
        container.seek(stream.index_entries[0].timestamp, stream=stream)
    index, first = _scan(reader, stream)
    if _are_made_up(container, stream, index):
        index = replace(index, pts=np.full_like(index.pts, NO_TIME))
    return _without_leading(index, first), first


def _are_made_up(container: InputContainer, stream: VideoStream, index: PacketIndex) -> bool:
    """Whether presentation times are decoding times with a constant delay, though frames are reordered."""
    delay = index.pts - index.dts
    is_constant = len(delay) > 1 and not (index.pts == NO_TIME).any() and bool((delay == delay[0]).all())
    may_lack = not _UNTIMED.isdisjoint(container.format.name.split(","))
    return may_lack and is_constant and stream.codec_context.has_b_frames


def _without_leading(index: PacketIndex, first: VideoFrame | None) -> PacketIndex:
    """Returns `index` without the frames due before `first`, the first one that decodes."""
    if first is None or first.pts is None or index.jumps:
        return index
    leading = index.shown & (index.pts != NO_TIME) & (index.pts < first.pts)
    return replace(index, shown=index.shown & ~leading, leading=int(leading.sum())) if leading.any() else index


def first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Returns the first frame that can be decoded, or None."""
    packets = chain(PacketReader(container, stream), (None,))
    return next((frame for frame in (_frame_at(stream, packet) for packet in packets) if frame is not None), None)


def _agreed_tables(container: InputContainer, stream: VideoStream, source: Source) -> SampleTables | None:
    """Returns the sample tables if FFmpeg's index, which handles edit lists and odd files, agrees with them."""
    entries = stream.index_entries
    count = len(entries)
    if not count or "mov" not in container.format.name or stream.duration is None:
        return None
    if _has_hidden_packets(stream) or fields_of(stream) is not None:
        return None
    try:
        with open_bytes(source) as file:
            tables = sample_tables(file, stream.id, count)
    except (VideoError, OSError):
        return None
    if tables is None or stream.time_base is None or stream.time_base * tables.timescale != 1:
        return None
    last = entries[count - 1]
    if max(tables.end, last.pos + last.size) > container.size:  # truncated: only what is in the file counts
        return None
    keys = np.flatnonzero(tables.key)
    looked_at = {*range(min(_EDGE, count)), *range(max(0, count - _EDGE), count)}
    looked_at.update(range(0, count, 1 + count // _COMPARED))
    looked_at.update(keys[:: 1 + len(keys) // _COMPARED].tolist())
    shift = entries[0].timestamp - tables.dts[0]
    for number in looked_at:
        entry = entries[number]
        same = entry.timestamp == tables.dts[number] + shift and entry.is_keyframe == tables.key[number]
        if not same or entry.is_discard:
            return None
    return tables


def _from_tables(
    container: InputContainer, stream: VideoStream, reader: PacketReader, tables: SampleTables
) -> tuple[PacketIndex, VideoFrame] | None:
    """Returns the index from `tables` if the first packets and the one shown last confirm it, and the first frame."""
    pts, dts, first = tables.pts, tables.dts, None
    for number, packet in enumerate(islice(reader, min(_DELAY, len(pts)))):
        if packet.pts is None or packet.dts is None or packet.is_discard or packet.is_keyframe != tables.key[number]:
            return None
        if number == 0:
            pts, dts = pts - pts[0] + packet.pts, dts - dts[0] + packet.dts
        if (packet.pts, packet.dts) != (pts[number], dts[number]):
            return None
        first = _frame_at(stream, packet)
        if first is not None:
            break
    else:
        first = _frame_at(stream, None)
    if first is None:
        return None
    last = int(np.argmax(pts))
    try:
        container.seek(stream.index_entries[last].timestamp, stream=stream, any_frame=True)
        packets = islice(reader, _DELAY)  # the seek lands earlier by the reordering delay
        lengths = [packet.duration or 0 for packet in packets if packet.pts == pts[last]]
    except (av.FFmpegError, OSError):
        return None
    if not lengths:
        return None
    return PacketIndex(pts, dts, tables.key, np.ones(len(pts), np.bool_), lengths[0]), first


def _scan(reader: PacketReader, stream: VideoStream) -> tuple[PacketIndex, VideoFrame | None]:
    """Builds the index from every packet of the file, without keeping the packets' data."""
    first = None
    pts, dts, key, shown = list[int](), list[int](), list[bool](), list[bool]()
    last, last_length = NO_TIME, 0
    hidden_packets, fields = _has_hidden_packets(stream), fields_of(stream)
    for packet in reader:
        if first is None:
            first = _frame_at(stream, packet)
        time, decoded = packet.pts, packet.dts
        pts.append(NO_TIME if time is None else time)
        dts.append(NO_TIME if decoded is None else decoded)
        is_second = fields is not None and fields.is_second(bytes(packet))
        key.append(packet.is_keyframe and not is_second)
        is_shown = not (packet.is_discard or is_second or (hidden_packets and not bytes(packet)[0] & 0x10))
        shown.append(is_shown)
        if is_shown and pts[-1] >= last:
            last, last_length = pts[-1], packet.duration or 0
        elif is_second and pts[-1] > last:
            last_length = pts[-1] - last + (packet.duration or 0)
    index = PacketIndex(np.array(pts, np.int64), np.array(dts, np.int64), np.array(key), np.array(shown), last_length)
    return index, first or _frame_at(stream, None)


def _has_hidden_packets(stream: VideoStream) -> bool:
    """Whether some packets are never shown: VP8's alternative reference frames are not (RFC 6386, section 9.1)."""
    return stream.codec_context.codec.canonical_name == "vp8"


def _frame_at(stream: VideoStream, packet: Packet[VideoStream] | None) -> VideoFrame | None:
    """Sends `packet` (None: the end) to the decoder; returns the first frame that comes out, if any."""
    return next(iter(decode_packet(stream, packet)), None)
