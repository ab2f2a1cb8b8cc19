"""Opens videos safely: one file, one video stream, every failure reported in one line.

FFmpeg accepts URLs, playlists and name patterns where a file name is expected, and a playlist named `clip.mp4` would
make it fetch the listed files. Here a video is one regular file, so all of that is disabled. `vtcli.video.remote` reads
files on web servers; FFmpeg has no access to the network.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vtcli.errors import UsageError, VideoError
from vtcli.video.pulse import beat
from vtcli.video.source import Source, Video, is_address, source_of

# Demuxers that open further files, run scripts, or show text as a video (`notes.txt` would be an ANSI animation).
# They are refused before they start: merely opening a live playlist blocks.
_NOT_VIDEOS = {"hls", "dash", "concat", "concatf", "sdp", "rtsp", "imf", "webm_dash_manifest", "avisynth", "tty"}
MAX_PIXELS = 2**26  # per picture, twice 8K: a claimed size costs memory before the file turns out to be empty
_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - _NOT_VIDEOS)),
    "protocol_whitelist": "file",  # no network
    "pattern_type": "none",  # `img%d.png` is one file, not many
    "max_pixels": str(MAX_PIXELS),  # for formats that are decoded on opening
}


@contextmanager
def open_video(video: Video) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yields the open container and its video stream: the requested one, else the best one.

    The best one is that of `av_find_best_stream`, but never cover art. Raises VideoError for anything that is not a
    regular file with a video stream that this build can decode, UsageError for a stream that does not exist.
    """
    source = source_of(video)
    name = source.label
    try:
        container = _open_container(source)
    except UnicodeEncodeError:
        raise VideoError(f"{name}: the file's name is not valid text; rename it") from None
    except av.ArgumentError:  # among other causes, a format that is not on the list
        raise VideoError(f"{name} is not a video that can be read: not in a format for videos") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{name} is not a video that can be read: {_reason(error)}") from None
    with container:
        yield container, _chosen_stream(container, source)


def open_bytes(video: Video) -> BinaryIO:
    """Opens the file itself for random access. Raises VideoError; reading also raises VideoError, or OSError."""
    source = source_of(video)
    if is_address(source.place):
        from vtcli.video.remote import BLOCK, RemoteFile, remote

        return io.BufferedReader(RemoteFile(remote(source.place)), BLOCK)
    _check_file(source)
    try:
        return open(source.place, "rb")
    except OSError as error:
        raise VideoError(f"{source.label} cannot be read: {_reason(error)}") from None


def _open_container(source: Source) -> InputContainer:
    if is_address(source.place):
        from vtcli.video.remote import RemoteFile, remote

        file = RemoteFile(remote(source.place))
        return av.open(file, "r", options=_OPTIONS | {"protocol_whitelist": "none"}, metadata_errors="replace")
    _check_file(source)
    return av.open(f"file:{source.place}", "r", options=_OPTIONS, metadata_errors="replace")


class PacketReader:
    """Iterates over the packets of one stream in decoding order; its attributes then hold what the reading found.

    `start` and `end` are the earliest and latest presentation time (seconds, container clock) among the streams read;
    with `every_stream`, all streams are read. `broken`: the file stopped inside a packet, which is left out (what a
    decoder outputs for it is not a frame of the video), or reading failed; `problem` then says why.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, every_stream: bool = False) -> None:
        self.broken = False
        self.problem = ""
        self._container = container
        self._stream = stream
        self._spans: dict[int, tuple[int, int]] = {}  # stream → its earliest and latest time, ticks
        self._streams = list(container.streams) if every_stream else [stream]
        for other in container.streams:
            if other not in self._streams:
                other.discard = Discard.all  # the demuxer then does not even read them

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        held: Packet[VideoStream] | None = None
        packets = self._container.demux(*self._streams)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self.broken, self.problem = True, _reason(error)
                break
            except IndexError:  # PyAV, after the last packet, for a stream that appeared midway
                break
            if packet is None:
                break
            beat()
            if packet.size == 0:  # the empty packets that end every stream
                continue
            self._note_time(packet)
            if packet.stream_index != self._stream.index:
                continue
            if held is not None:
                yield held
            held = cast("Packet[VideoStream]", packet)
        if held is not None:
            if held.is_corrupt:
                self.broken = True
            else:
                yield held

    @property
    def start(self) -> float | None:
        return min((self._seconds(index, start) for index, (start, _) in self._spans.items()), default=None)

    @property
    def end(self) -> float | None:
        return max((self._seconds(index, end) for index, (_, end) in self._spans.items()), default=None)

    def _seconds(self, index: int, ticks: int) -> float:
        return float(ticks * (self._container.streams[index].time_base or 0))

    def _note_time(self, packet: Packet[Stream]) -> None:
        start, index = packet.pts, packet.stream_index
        if start is None or packet.is_discard:
            return
        end = start + (packet.duration or 0)
        first, last = self._spans.get(index, (start, end))
        self._spans[index] = min(first, start), max(last, end)


def decode_packet(stream: VideoStream, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """Sends `packet` (None: the end) to the decoder and returns the frames that come out; none for a damaged packet."""
    try:
        return stream.decode(packet)
    except MemoryError:  # FFmpeg's MemoryError is an FFmpegError too
        raise
    except av.FFmpegError:
        return []


def _check_file(source: Source) -> None:
    file, name = Path(source.place), source.label
    try:
        if not source.place:  # Path("") is the current folder
            raise VideoError("no such file: its name is empty")
        if file.is_dir():
            raise VideoError(f"{name} is a folder, not a video")
        if not file.exists():
            raise VideoError(f"no such file: {name}")
        if not file.is_file():
            raise VideoError(f"{name} is not a regular file")
        if file.stat().st_size == 0:
            raise VideoError(f"{name} is empty")
    except (OSError, ValueError) as error:
        raise VideoError(f"{name} cannot be read: {_reason(error)}") from None


def _chosen_stream(container: InputContainer, source: Source) -> VideoStream:
    name = source.label
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        if container.streams.video:
            raise VideoError(f"{name} has no video: its only picture is cover art")
        raise VideoError(f"{name} has no video stream" + (", only sound" if container.streams.audio else ""))
    if source.stream is None:
        best = container.streams.best("video")
        stream = next((s for s in films if best is not None and s.index == best.index), films[0])
    else:
        chosen = next((s for s in films if s.index == source.stream), None)
        if chosen is None:
            there = ", ".join(str(s.index) for s in films)
            raise UsageError(f"--stream {source.stream}: {name} has no such video stream, only {there}")
        stream = chosen
    if stream.codec_context is None:
        raise VideoError(f"{name}: its video codec cannot be decoded here")
    if stream.width * stream.height > MAX_PIXELS:
        raise VideoError(f"{name}: pictures of {stream.width}x{stream.height} pixels are too large; make them smaller")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for the size that the pictures themselves claim
    return stream


def _reason(error: Exception) -> str:
    """Returns the error's own text in one line, without the file name (already in the message)."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
