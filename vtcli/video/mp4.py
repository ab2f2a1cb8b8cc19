"""Reads the sample tables of an MP4 or QuickTime file: the time of every packet, without reading the packets.

The format is ISO/IEC 14496-12. This module reads only what FFmpeg's own index, which has no presentation times, does
not give, and only in plain files: anything unusual gives None, and the packets themselves are read instead.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

MAX_HEADER = 2**26  # bytes of `moov`; an hour at 30 frames a second takes 2 MB
_MAX_BOXES = 1000  # per level; real files have a dozen, except fragmented ones

Ticks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SampleTables:
    """One track's samples in decoding order, with nothing hidden by an edit list.

    dts, pts: ticks, each up to a constant of its own. key: sync samples. timescale: ticks per second. end: the minimum
    size in bytes of a file that holds the samples.
    """

    dts: Ticks
    pts: Ticks
    key: npt.NDArray[np.bool_]
    timescale: int
    end: int


def sample_tables(file: BinaryIO, track: int, count: int) -> SampleTables | None:
    """Returns the tables of the track with id `track`, which must have `count` samples; None if they are not plain."""
    try:
        return _read(file, track, count)
    except (struct.error, ValueError, KeyError, OverflowError):  # damaged, or a box is missing
        return None


def _read(file: BinaryIO, track: int, count: int) -> SampleTables | None:
    movie = _movie(file)
    if movie is None or b"mvex" in dict(_boxes(movie)):  # fragments follow, with tables of their own
        return None
    tracks = [dict(_boxes(body)) for name, body in _boxes(movie) if name == b"trak"]
    mine = [t for t in tracks if _times(t[b"tkhd"], "I")[0] == track]
    if len(mine) != 1:
        return None
    media = dict(_boxes(mine[0][b"mdia"]))
    boxes = dict(_boxes(dict(_boxes(media[b"minf"]))[b"stbl"]))
    if b"stps" in boxes or _number(boxes[b"stsd"], 4) != 1:  # partly independent pictures; a change of codec
        return None
    timescale = _times(media[b"mdhd"], "I")[0]
    if not _sizes_are_plain(boxes[b"stsz"], count):
        return None
    lengths = _runs(boxes[b"stts"], ">u4", count)
    if lengths is None or lengths.max() >= 2**31:
        return None
    dts = np.concatenate(([0], np.cumsum(lengths[:-1])))
    delays = _runs(boxes[b"ctts"], ">i4", count) if b"ctts" in boxes else np.zeros(count, np.int64)
    if delays is None:
        return None
    pts = dts + delays
    if b"edts" in mine[0]:
        per_second = _times(dict(_boxes(movie))[b"mvhd"], "I")[0]
        if not _shows_all(dict(_boxes(mine[0][b"edts"]))[b"elst"], pts, timescale, per_second):
            return None
    key = np.ones(count, np.bool_)
    if b"stss" in boxes:
        numbers = _column(boxes[b"stss"], ">u4").astype(np.int64)
        if numbers.size == 0 or numbers.min() < 1 or numbers.max() > count:
            return None
        key[:] = False
        key[numbers - 1] = True
    offsets = _column(boxes[b"stco"], ">u4") if b"stco" in boxes else _column(boxes[b"co64"], ">u8")
    return SampleTables(dts, pts, key, timescale, int(offsets.max()) + 1)


def _movie(file: BinaryIO) -> memoryview | None:
    """Returns the content of the `moov` box; None without one."""
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return None
        size, name = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, 8)
            start = 16
        if name == b"moov":
            if not start < size <= MAX_HEADER:
                return None
            file.seek(position + start)
            body = file.read(size - start)
            return memoryview(body) if len(body) == size - start else None
        if size < start:  # 0: the box extends to the end of the file
            return None
        position += size
    return None


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the name and content of each box in `data`."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, position)
        start = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            start = 16
        if size < start or position + size > len(data):
            return
        yield name, data[position + start : position + size]
        position += size


def _number(box: memoryview, position: int) -> int:
    return int(struct.unpack_from(">I", box, position)[0])


def _times(box: memoryview, field: str) -> tuple[int, ...]:
    """Reads the field after the two dates at the start of `tkhd`, `mdhd` and `mvhd` (64 bits each in version 1)."""
    return struct.unpack_from(">" + field, box, 20 if box[0] == 1 else 12)


def _column(box: memoryview, kind: str) -> npt.NDArray[np.generic]:
    """Reads a table of numbers, which follows its length."""
    return np.frombuffer(box, kind, _number(box, 4), 8)


def _runs(box: memoryview, kind: str, count: int) -> Ticks | None:
    """Expands a table of (repetitions, value); None unless it gives `count` values."""
    table = np.frombuffer(box, np.dtype([("repeat", ">u4"), ("value", kind)]), _number(box, 4), 8)
    repeat = table["repeat"].astype(np.int64)
    return np.repeat(table["value"].astype(np.int64), repeat) if repeat.sum() == count else None


def _sizes_are_plain(box: memoryview, count: int) -> bool:
    """Whether the box has `count` samples and none is empty: an empty one gives no packet."""
    if _number(box, 8) != count:
        return False
    return _number(box, 4) > 0 or bool(np.frombuffer(box, ">u4", count, 12).all())


def _shows_all(box: memoryview, pts: Ticks, timescale: int, per_second: int) -> bool:
    """Whether the edit list plays all samples once at normal speed, possibly after a pause."""
    form, size = (">Qqi", 20) if box[0] == 1 else (">Iii", 12)
    edits = [struct.unpack_from(form, box, 8 + size * i) for i in range(min(_number(box, 4), 3))]
    if edits and edits[0][1] == -1:
        edits = edits[1:]
    if len(edits) != 1 or _number(box, 4) > 2:
        return False
    duration, start, rate = edits[0]
    end = start + duration * timescale / per_second
    return bool(rate == 1 << 16 and start <= pts.min() and pts.max() < end)
