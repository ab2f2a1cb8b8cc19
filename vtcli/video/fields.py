"""Finds the packets of an interlaced H.264 stream that are only the second field of a picture.

Cameras (AVCHD) and broadcasters may code the two fields of a picture one after the other. FFmpeg's demuxers return them
as two packets, from which a decoder makes one frame. Only the slice headers show this (ITU-T H.264, 7.3.2.1, 7.3.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from av.video.stream import VideoStream

_SEQUENCE = 7  # NAL unit types
_SLICES = (1, 2, 5)
# Profiles whose parameters state the chroma sampling, 7.3.2.1.1.
_LONG_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
_HEADER = 64  # bytes of a slice that are read; the first fields of its header take about ten


class Fields:
    """Finds the second fields among the packets of one stream, given in decoding order."""

    def __init__(self, sequence: _Sequence, length_size: int) -> None:
        self._sequence = sequence
        self._length_size = length_size  # bytes, 0 where start codes separate the NAL units
        self._open: tuple[int, bool] | None = None  # frame number and parity of a field that may have a second one

    def is_second(self, packet: bytes) -> bool:
        """Whether `packet` is the second field of the picture that the previous packet began."""
        first, self._open = self._open, None
        units = _units(packet, self._length_size)
        try:
            field = self._sequence.field(next(unit for unit in units if unit[0] & 31 in _SLICES))
        except (StopIteration, ValueError, IndexError):  # damaged
            return False
        if field is None:
            return False
        if first is not None and first == (field[0], not field[1]):
            return True
        self._open = field
        return False


def fields_of(stream: VideoStream) -> Fields | None:
    """Returns the finder of second fields for `stream`; None where every packet is a frame, or where it cannot tell."""
    context = stream.codec_context
    extra = context.extradata
    if context.codec.canonical_name != "h264" or not extra or len(extra) < 8:
        return None
    is_mp4 = extra[0] == 1  # ISO/IEC 14496-15: parameters start at byte 6, each after a 2-byte length
    length_size = (extra[4] & 3) + 1 if is_mp4 else 0
    units = _units(extra[6:], 2) if is_mp4 else _units(extra, 0)
    try:
        sequence = _read_sequence(next(unit for unit in units if unit[0] & 31 == _SEQUENCE))
    except (StopIteration, ValueError, IndexError):
        return None
    return None if sequence.frames_only else Fields(sequence, length_size)


@dataclass(frozen=True)
class _Sequence:
    """The sequence parameters that are needed to read a slice header."""

    frames_only: bool
    frame_number_bits: int
    has_planes: bool

    def field(self, slice_unit: bytes) -> tuple[int, bool] | None:
        """Returns frame number and whether this is the bottom field; None for a whole frame. Raises ValueError."""
        bits = _Bits(slice_unit[1:_HEADER])
        for _ in range(3):  # first macroblock, type, picture parameters
            bits.exponential()
        bits.take(2 * self.has_planes)
        number = bits.take(self.frame_number_bits)
        return (number, bool(bits.take(1))) if bits.take(1) else None


def _read_sequence(unit: bytes) -> _Sequence:
    """Parses the sequence parameters. Raises ValueError where they break off."""
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.exponential()
    has_planes = False
    if profile in _LONG_PROFILES:
        chroma = bits.exponential()
        has_planes = chroma == 3 and bool(bits.take(1))
        for _ in range(2):  # bits of luma and chroma
            bits.exponential()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _pass_scaling_list(bits, 16 if number < 6 else 64)
    frame_number_bits = bits.exponential() + 4
    order = bits.exponential()
    if order == 0:
        bits.exponential()
    elif order == 1:
        bits.take(1)
        for _ in range(2):
            bits.exponential()
        for _ in range(bits.exponential()):
            bits.exponential()
    bits.exponential()
    bits.take(1)
    for _ in range(2):  # width and height
        bits.exponential()
    return _Sequence(bool(bits.take(1)), frame_number_bits, has_planes)


def _pass_scaling_list(bits: _Bits, size: int) -> None:
    scale = 8
    for _ in range(size):
        code = bits.exponential()
        scale = (scale + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        if scale == 0:  # the remaining values repeat the last one
            return


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yields the non-empty NAL units of `data`, each preceded by its length or (`length_size` 0) by a start code."""
    position = 0
    if length_size:
        while size := int.from_bytes(data[position : position + length_size], "big"):
            position += length_size
            if unit := data[position : position + size]:
                yield unit
            position += size
        return
    while (start := data.find(b"\0\0\1", position) + 3) > 2:
        position = data.find(b"\0\0\1", start)
        if position < 0:
            position = len(data)
        if start < position:
            yield data[start:position]


class _Bits:
    """The bits of a NAL unit after its first byte, without the emulation prevention bytes."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Returns the next `count` bits. Raises ValueError at the end."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the data break off")
        return self._value >> self._left & (1 << count) - 1

    def exponential(self) -> int:
        """Returns the next number in Exp-Golomb code, 9.1."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
