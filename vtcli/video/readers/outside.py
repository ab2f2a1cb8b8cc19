"""Checks for readers whose library opens and seeks on its own: which files that library reads correctly."""

from __future__ import annotations

import os

import av
import numpy as np

from vtcli.video.container import open_video
from vtcli.video.index import PacketIndex
from vtcli.video.picture import has_alpha, is_mirrored
from vtcli.video.probe import VideoInfo
from vtcli.video.readers.base import UnfitError
from vtcli.video.source import source_of

# Containers with an index to seek by. MPEG transport and program streams have none: both libraries show wrong frames of
# these, and torchcodec reports the right times with them.
_INDEXED = {"mov", "matroska", "avi", "flv", "gif"}


def seekable_file(info: VideoInfo, reader: str, chooses_streams: bool) -> str:
    """Returns the absolute path of the file of `info`, which no library can take for an address or an option.

    `chooses_streams`: whether `reader` can be told which stream to read. `probe` has checked the file's content and
    refuses playlists and similar formats; for anything a file refers to, FFmpeg itself opens only files. Raises
    UnfitError if `reader` cannot open the file or would show other pictures.
    """
    source = source_of(info.video)
    if source.kind != "file":
        raise UnfitError(f"{reader} reads files only")
    with open_video(source) as (container, stream):
        if not _INDEXED & set(container.format.name.split(",")):
            raise UnfitError(f"{reader} does not seek to the right frames in {container.format.long_name}")
        if not chooses_streams and len(container.streams.video) > 1:  # FFmpeg releases differ in their choice
            raise UnfitError(f"{reader} cannot be told which video stream to read")
        try:
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            frame = None
        if frame is None:
            raise UnfitError(f"{reader} is not used for damaged files")
        if has_alpha(frame.format):
            raise UnfitError(f"{reader} does not read transparency")
        if is_mirrored(frame):
            raise UnfitError(f"{reader} does not mirror pictures")
    return os.path.abspath(source.place)


def packets_of(info: VideoInfo, reader: str) -> PacketIndex:
    """Returns the packets of `info`, each shown as one frame with a time of its own. Raises UnfitError otherwise."""
    packets = info.packets
    if packets is None or packets.order is None:
        raise UnfitError(f"{reader} needs times in the file, and its frames carry none")
    if not packets.shown.all():
        raise UnfitError(f"{reader} counts packets that are no frames of their own: hidden ones, or second fields")
    return packets


def is_closed(packets: PacketIndex) -> bool:
    """Whether no frame is shown before the key frame that its decoding needs (closed groups of pictures)."""
    assert packets.order is not None
    keys = np.flatnonzero(packets.key)
    return bool(keys.size and keys[0] == 0 and (packets.order[keys] == keys).all())
