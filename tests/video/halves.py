"""H.264 whose pictures are two fields, coded one after the other: no encoder here makes it, cameras do (AVCHD)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.video.conftest import picture

WIDTH, HEIGHT, RATE, GROUP = 160, 96, 25, 10
_DELIMITER = b"\0\0\0\1\x09\xf0"


class _Bits:
    """Writes the syntax elements of ITU-T H.264, 7.3."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def u(self, count: int, *values: int) -> None:
        for value in values:
            self.bits += [value >> count - 1 - place & 1 for place in range(count)]

    def ue(self, *values: int) -> None:
        for value in values:
            zeros = (value + 1).bit_length() - 1
            self.u(2 * zeros + 1, value + 1)

    def align(self) -> None:
        self.bits += [0] * (-len(self.bits) % 8)

    def unit(self, head: int) -> bytes:
        """All of it as a NAL unit after a start code."""
        self.u(1, 1)
        self.align()
        unit, zeros = bytearray((head,)), 0
        for byte in np.packbits(np.array(self.bits, np.uint8)).tobytes():
            if zeros >= 2 and byte <= 3:
                unit.append(3)
                zeros = 0
            unit.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes(unit)


def _parameters() -> bytes:
    sequence, pictures = _Bits(), _Bits()
    sequence.u(8, 77, 0, 30)
    sequence.ue(0, 0, 0, 4, 1)  # 4 bits of frame number, 8 of order, 1 frame to refer to
    sequence.u(1, 0)
    sequence.ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    sequence.u(1, 0, 0, 1, 0, 0)  # the first: there are fields
    pictures.ue(0, 0)
    pictures.u(1, 0, 0)
    pictures.ue(0, 0, 0)
    pictures.u(1, 0, 0, 0)
    pictures.ue(0, 0, 0)
    pictures.u(1, 1, 0, 0)
    return sequence.unit(0x67) + pictures.unit(0x68)


def _field(number: int, bottom: int) -> bytes:
    """A field of picture `number`, in blocks of plain pixels (I_PCM)."""
    place = number % GROUP
    is_key = place == 0 and not bottom
    bits = _Bits()
    bits.ue(0, 7 if is_key else 5, 0)
    bits.u(4, place)
    bits.u(1, 1, bottom)
    if is_key:
        bits.ue(number // GROUP % 2)
    bits.u(8, 2 * place + bottom)
    bits.u(1, 0, 0)
    if not is_key:
        bits.u(1, 0)
    bits.ue(0, 1)
    luma = np.clip(picture(number, WIDTH, HEIGHT)[bottom::2, :, 0], 16, 235)
    for top in range(0, HEIGHT // 2, 16):
        for left in range(0, WIDTH, 16):
            bits.ue(*((25,) if is_key else (0, 30)))
            bits.align()
            block = luma[top : top + 16, left : left + 16].tobytes() + bytes([128]) * 128
            bits.bits += np.unpackbits(np.frombuffer(block, np.uint8)).tolist()
    return bits.unit(0x65 if is_key else 0x61)


def write_fields(path: Path, frames: int, each_timed: bool) -> Path:
    """Pictures 0, 1, … as two fields each, which go into packets, and have times, of their own with `each_timed`."""
    halves = [
        tuple(_DELIMITER + (_parameters() if (n % GROUP, b) == (0, 0) else b"") + _field(n, b) for b in (0, 1))
        for n in range(frames)
    ]
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(map(b"".join, halves)))
    with av.open(str(raw)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, fields in enumerate(halves):
            for half, data in enumerate(fields if each_timed else (b"".join(fields),)):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 2 * RATE)
                packet.pts = packet.dts = 2 * number + half
                packet.duration = 1 if each_timed else 2
                packet.is_keyframe = number % GROUP == half == 0
                container.mux(packet)
    return path
