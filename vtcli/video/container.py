"""Opening a video file safely: one local file, one video stream, every failure one line.

FFmpeg takes URLs, playlists and name patterns where a file name is expected, and a playlist named `clip.mp4` would
make it fetch what it lists. A video here is one regular local file, so all of that is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from vtcli.errors import VideoError
from vtcli.video.text import shown

# Demuxers that open further files or run scripts, or show text as a film (`notes.txt` would be an ANSI animation).
# They are refused before they start: a live playlist would be waited for as soon as it is opened.
_NOT_VIDEOS = {"hls", "dash", "concat", "concatf", "sdp", "rtsp", "imf", "webm_dash_manifest", "avisynth", "tty"}
_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - _NOT_VIDEOS)),
    "protocol_whitelist": "file",  # no network
    "pattern_type": "none",  # `img%d.png` is one file, not many
}


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open container and its best video stream (as `av_find_best_stream`, never cover art).

    Raises VideoError for anything that is not a regular file holding a video stream this build can decode.
    """
    _check_file(path)
    try:
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
    except UnicodeEncodeError:
        raise VideoError(f"{shown(path)}: the file's name is not valid text; rename it") from None
    except av.ArgumentError:  # among others, what a format off the list gives
        raise VideoError(f"{shown(path)} is not a video that can be read: not in a format for videos") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{shown(path)} is not a video that can be read: {_reason(error)}") from None
    with container:
        yield container, _best_stream(container, shown(path))


class PacketReader:
    """The packets of one stream in decoding order; afterwards what the reading met.

    `start` and `end` are the earliest and latest presentation time (seconds, container clock) among the streams read,
    which are all of them with `every_stream`. `broken`: the file stopped inside a packet, which is left out (what a
    decoder makes of it is not a frame of the video), or reading failed, and `problem` says why.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, every_stream: bool = False) -> None:
        self.start: float | None = None
        self.end: float | None = None
        self.broken = False
        self.problem = ""
        self._container = container
        self._stream = stream
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

    def _note_time(self, packet: Packet[Stream]) -> None:
        if packet.pts is None or packet.is_discard:
            return
        start = float(packet.pts * packet.time_base)
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        self.start = start if self.start is None else min(self.start, start)
        self.end = end if self.end is None else max(self.end, end)


def _check_file(path: str | Path) -> None:
    file, name = Path(path), shown(path)
    try:
        if not str(path):  # Path would make the current folder of it
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


def _best_stream(container: InputContainer, name: str) -> VideoStream:
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        if container.streams.video:
            raise VideoError(f"{name} has no video: its only picture is cover art")
        raise VideoError(f"{name} has no video stream" + (", only sound" if container.streams.audio else ""))
    best = container.streams.best("video")
    stream = next((s for s in films if best is not None and s.index == best.index), films[0])
    if stream.codec_context is None:
        raise VideoError(f"{name}: its video codec cannot be decoded here")
    return stream


def _reason(error: Exception) -> str:
    """The error's own words in one line, without the file name (already in the message)."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()).lower()
