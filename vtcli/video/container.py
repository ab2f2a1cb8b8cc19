"""Opening a video safely: one file, one video stream, every failure one line.

FFmpeg takes URLs, playlists and name patterns where a file name is expected, and a playlist named `clip.mp4` would
make it fetch what it lists. A video here is one regular file, so all of that is switched off; a file on a web server
is read by `vtcli.video.remote`, and FFmpeg knows nothing of the network.
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

# Demuxers that open further files or run scripts, or show text as a film (`notes.txt` would be an ANSI animation).
# They are refused before they start: a live playlist would be waited for as soon as it is opened.
_NOT_VIDEOS = {"hls", "dash", "concat", "concatf", "sdp", "rtsp", "imf", "webm_dash_manifest", "avisynth", "tty"}
MAX_PIXELS = 2**26  # a picture: twice 8K. What a file claims costs memory before it turns out to hold nothing
_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - _NOT_VIDEOS)),
    "protocol_whitelist": "file",  # no network
    "pattern_type": "none",  # `img%d.png` is one file, not many
    "max_pixels": str(MAX_PIXELS),  # where opening takes decoding
}


@contextmanager
def open_video(video: Video) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open container and its video stream: the one asked for, else the best (`av_find_best_stream`, no cover art).

    Raises VideoError for anything that is not a regular file holding a video stream this build can decode, UsageError
    for a stream that is not there.
    """
    source = source_of(video)
    name = source.label
    try:
        container = _open_container(source)
    except UnicodeEncodeError:
        raise VideoError(f"{name}: the file's name is not valid text; rename it") from None
    except av.ArgumentError:  # among others, what a format off the list gives
        raise VideoError(f"{name} is not a video that can be read: not in a format for videos") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{name} is not a video that can be read: {_reason(error)}") from None
    with container:
        yield container, _chosen_stream(container, source)


def open_bytes(video: Video) -> BinaryIO:
    """The file itself, open for reading anywhere in it. Raises VideoError; reading does so too, or OSError."""
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
    """The packets of one stream in decoding order; afterwards what the reading met.

    `start` and `end` are the earliest and latest presentation time (seconds, container clock) among the streams read,
    which are all of them with `every_stream`. `broken`: the file stopped inside a packet, which is left out (what a
    decoder makes of it is not a frame of the video), or reading failed, and `problem` says why.
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
            except IndexError:  # how PyAV meets a stream that was not announced
                self.broken, self.problem = True, "its streams change midway"
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
    """The frames that come out when `packet` goes in (None: the end); a damaged packet gives none."""
    try:
        return stream.decode(packet)
    except MemoryError:  # FFmpeg's is an FFmpegError too
        raise
    except av.FFmpegError:
        return []


def _check_file(source: Source) -> None:
    file, name = Path(source.place), source.label
    try:
        if not source.place:  # Path would make the current folder of it
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
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for what the pictures themselves claim
    return stream


def _reason(error: Exception) -> str:
    """The error's own words in one line, without the file name (already in the message)."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
