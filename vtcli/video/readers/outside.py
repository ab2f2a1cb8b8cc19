"""What a reader needs that leaves opening and seeking to a library of its own: files it does that right with."""

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

# Containers with an index to seek by. Both libraries show wrong frames of MPEG transport and program streams, which
# have none, and torchcodec names the right times for them.
_INDEXED = {"mov", "matroska", "avi", "flv", "gif"}


def seekable_file(info: VideoInfo, reader: str, chooses_streams: bool) -> str:
    """The path of the file of `info`, absolute, so that no library can take it for an address or an option.

    `chooses_streams`: whether `reader` can be told which stream to read. What the file holds was looked at by `probe`,
    which refuses playlists and the like; FFmpeg itself opens nothing but files for what a file refers to. Raises
    UnfitError where `reader` cannot open it or would show other pictures.
    """
    source = source_of(info.video)
    if source.kind != "file":
        raise UnfitError(f"{reader} reads files only")
    with open_video(source) as (container, stream):
        if not _INDEXED & set(container.format.name.split(",")):
            raise UnfitError(f"{reader} does not seek to the right frames in {container.format.long_name}")
        if not chooses_streams and len(container.streams.video) > 1:  # releases of FFmpeg choose differently
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
    """The packets of `info`, each shown as one frame at a time of its own. Raises UnfitError where they are not so."""
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
