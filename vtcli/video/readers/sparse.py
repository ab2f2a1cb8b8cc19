"""Reads a few frames of a long video with PyAV: decodes only the frames they depend on, on all cores.

Each group of pictures with a wanted frame is reached by one seek and decoded from its key packet to the last wanted
frame, without non-reference frames in between. The groups are distributed over threads, each with a decoder of its own.
Any deviation from the packet index ends the attempt, and the file is then read from its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from heapq import heapreplace
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.cores import cores
from vtcli.video.container import PacketReader, decode_packet, open_video
from vtcli.video.groups import Group, plan_groups
from vtcli.video.index import NO_TIME, PacketIndex
from vtcli.video.picture import Picture, picture
from vtcli.video.probe import VideoInfo
from vtcli.video.sampling import FramePlan

MEMORY = 2**29  # bytes that all decoders together may hold
_HELD = 30  # bytes a decoder holds per pixel of a picture: 10 to 20 pictures of 1.5 bytes per pixel, or 3 in HDR
_NEAR = 100  # packets: reading on that far costs no more than seeking
_FRAME_THREAD = 0.7  # speed that one more thread inside a decoder adds, in single-threaded decoders
_OPENING = 15e6  # pixels decoded in the time that opening the file once more takes


class _OffIndexError(Exception):
    """The file does not match its packet index."""


def sparse_pictures(info: VideoInfo, plan: FramePlan, odd: set[int] | None = None) -> dict[int, Picture] | None:
    """Returns the pictures at the plan's indices; None if the file has to be read from its beginning.

    `odd` receives the indices of the frames whose size differs from that of the file's first frame.
    """
    index = info.packets
    if index is None or index.order is None or len(index.order) != info.frames:
        return None
    groups = plan_groups(index, plan.indices)
    if groups is None:
        return None
    tasks = sorted(_tasks(groups), key=_cost, reverse=True)  # longest first, so that all threads end together
    workers, threads = share([_cost(task) for task in tasks], info.width * info.height, cores())
    queue = deque(tasks)
    found: dict[int, Future[Picture]] = {}
    sizes: dict[int, tuple[int, int]] = {}

    def work() -> None:
        try:
            # Pictures are made while decoding continues; only a few frames wait for that, so memory stays flat.
            with open_video(info.video) as (container, stream), ThreadPoolExecutor(threads) as finishing:
                stream.codec_context.thread_type = "AUTO" if threads > 1 else "SLICE"
                stream.codec_context.thread_count = threads
                decoder = GroupDecoder(container, stream, index)
                waiting: deque[Future[Picture]] = deque()
                for group in chain.from_iterable(_taken(queue)):
                    for packet, frame in decoder.frames(group):
                        made = finishing.submit(picture, frame, info.rotation, plan.width, plan.height, info.mirrored)
                        found[packet] = made
                        sizes[packet] = frame.width, frame.height
                        waiting.append(made)
                        if len(waiting) > threads:
                            waiting.popleft().result()
        finally:
            queue.clear()  # either all tasks are taken, or the attempt has failed

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work) for _ in range(workers)]
        try:
            for worker in running:
                worker.result()
        except (_OffIndexError, av.FFmpegError):
            return None
        finally:
            queue.clear()
    packets = {frame: int(index.order[frame]) for frame in plan.indices}
    if odd is not None:
        odd.update(frame for frame, packet in packets.items() if sizes[packet] != info.stored)
    return {frame: found[packet].result() for frame, packet in packets.items()}


def share(costs: Sequence[int], pixels: int, cores: int) -> tuple[int, int]:
    """Returns the number of decoders, and of threads in each, that finish soonest.

    costs: packets to decode in each task, longest first. pixels: of a picture. Decoders that work on separate tasks
    never wait for each other, but the slowest one decides when all are done, and each takes memory.
    """
    most = max(1, min(cores, len(costs), MEMORY // (_HELD * pixels)))

    def finish(workers: int) -> float:
        speed = 1 + _FRAME_THREAD * (cores // workers - 1)
        loads = [_OPENING * (workers - 1) / cores] * workers  # a heap
        for cost in costs:
            heapreplace(loads, loads[0] + cost * pixels / speed)
        return max(loads)

    workers = min(range(1, most + 1), key=finish)
    return workers, cores // workers


def _tasks(groups: Sequence[Group]) -> list[list[Group]]:
    """Joins groups that lie close together into tasks, in which one decoder reads on from group to group."""
    tasks: list[list[Group]] = []
    for group in groups:
        if tasks and group.last - tasks[-1][0].key < _NEAR:
            tasks[-1].append(group)
        else:
            tasks.append([group])
    return tasks


def _taken(queue: deque[list[Group]]) -> Iterator[list[Group]]:
    """Yields the tasks that no other thread takes first."""
    while True:
        try:
            task = queue.popleft()
        except IndexError:
            return
        yield task


def _cost(task: Sequence[Group]) -> int:
    return sum(group.cost for group in task)


class GroupDecoder:
    """One opened file and its decoder.

    A decoder always receives the first packet of the video, wherever it seeks next: encoders identify themselves there,
    and decoders work around the faults of some encoders. Unless FFmpeg knows that a 4:4:4 video comes from an x264
    before build 151, it misreads the blocks, and decoding such a video from the middle gives plain green.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, index: PacketIndex) -> None:
        self._container = container
        self._stream = stream
        self._index = index
        self._packets: Iterator[Packet[VideoStream]] = iter(PacketReader(container, stream))
        self._next = 0  # number of the packet that comes next
        self._passed_over = 0  # packets, after seeks: in some files a seek only reaches the beginning

    def frames(self, group: Group) -> Iterator[tuple[int, VideoFrame]]:
        """Yields packet number and frame for each wanted frame of `group`. Raises _OffIndexError or FFmpegError."""
        if self._next == 0 and group.key > 0:
            self._introduce()
        self._go_to(group.key)
        pts, shown = self._index.pts, self._index.shown
        key_time = pts[group.key]
        key_seen = not shown[group.key]
        missing = {int(pts[number]): number for number in group.wanted}
        # A packet that does not become a frame may be the second field of the previous frame.
        wanted = {*group.wanted, *(n + 1 for n in group.wanted if n + 1 < len(shown) and not shown[n + 1])}
        last = max(wanted)
        for number in range(group.key, last + 2):
            packet = self._take() if number <= last else None  # None flushes the decoder
            is_wanted = packet is None or number in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            # Frames shown before the keyframe but stored after it may depend on frames that were not decoded.
            for frame in self._send(packet, may_fail=packet is not None and pts[number] < key_time):
                if frame.pts is None or frame.pts < key_time:
                    continue
                if frame.is_corrupt or not (key_seen or (frame.pts == key_time and frame.key_frame)):
                    raise _OffIndexError
                key_seen = True
                if frame.pts in missing:
                    yield missing.pop(frame.pts), frame
            if not missing:
                return
        raise _OffIndexError

    def _introduce(self) -> None:
        self._send(self._take(), may_fail=True)

    def _go_to(self, key: int) -> None:
        """Makes the packet `key` the next one, and clears the decoder of earlier frames."""
        if 0 <= key - self._next < _NEAR:
            self._stream.codec_context.flush_buffers()
        else:
            self._seek(key)
        while self._next < key:
            self._take()

    def _seek(self, key: int) -> None:
        """Seeks to the packet `key`, or to one before it."""
        index = self._index
        for time in (index.pts[key], index.dts[key]):  # formats differ in what they seek by
            self._container.seek(int(time), stream=self._stream)
            packets = iter(PacketReader(self._container, self._stream))
            for packet in packets:
                found = np.flatnonzero(index.pts == packet.pts)
                if found.size != 1:  # a partial packet, as after a seek in a transport stream
                    continue
                if found[0] > key:
                    break
                self._next = int(found[0])
                self._packets = chain((packet,), packets)
                self._passed_over += key - self._next
                if self._passed_over > len(index.pts):
                    raise _OffIndexError
                return
        raise _OffIndexError

    def _take(self) -> Packet[VideoStream]:
        packet = next(self._packets, None)
        if packet is None or (NO_TIME if packet.pts is None else packet.pts) != self._index.pts[self._next]:
            raise _OffIndexError
        self._next += 1
        return packet

    def _send(self, packet: Packet[VideoStream] | None, may_fail: bool = False) -> list[VideoFrame]:
        return decode_packet(self._stream, packet) if may_fail else self._stream.decode(packet)
