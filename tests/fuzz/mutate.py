"""Damage to files, drawn from a seed: what disks, cameras, broken downloads and attackers do to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

# What counters, sizes and offsets are compared with, added to and multiplied by.
_NUMBERS = (0, 1, 2, 7, 8, 255, 256, 4096, 16384, 65535)
_TAG = re.compile(rb"[A-Za-z0-9]{4}")  # boxes and chunks are named by four letters, and numbers stand around the name


def mutate(data: bytes, other: bytes, draw: Random) -> bytes:
    """`data` with one to four kinds of damage; `other` lends pieces."""
    result = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if result:
            draw.choice(_KINDS)(result, other, draw)
    return bytes(result)


def _place(data: bytearray, draw: Random) -> int:
    """Somewhere; headers, indexes at the end and what stands beside a name are where damage does most."""
    where = draw.randrange(4)
    if where == 0:
        return draw.randrange(min(len(data), 512))
    if where == 1:
        return len(data) - 1 - draw.randrange(min(len(data), 2048))
    if where == 2 and (tags := [match.start() for match in _TAG.finditer(data)]):
        return min(max(0, draw.choice(tags) + draw.randrange(-8, 64)), len(data) - 1)
    return draw.randrange(len(data))


def _range(data: bytearray, draw: Random) -> slice:
    start = _place(data, draw)
    longest = draw.choice((4, 64, 1024, len(data)))
    return slice(start, start + draw.randint(1, longest))


def _flip(data: bytearray, other: bytes, draw: Random) -> None:
    for _ in range(draw.choice((1, 2, 8, 32))):
        data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _number(data: bytearray, other: bytes, draw: Random) -> None:
    size = draw.choice((1, 2, 4, 8))
    order = draw.choice(("big", "little"))
    at = _place(data, draw)
    old = int.from_bytes(data[at : at + size], order)
    top = 1 << 8 * size
    new = draw.choice((*_NUMBERS, top - 1, top // 2, top // 2 - 1, old + 1, old - 1, old * 2, draw.randrange(top)))
    data[at : at + size] = (new % top).to_bytes(size, order)


def _cut(data: bytearray, other: bytes, draw: Random) -> None:
    del data[draw.choice((_place(data, draw), draw.randrange(len(data)))) :]


def _remove(data: bytearray, other: bytes, draw: Random) -> None:
    del data[_range(data, draw)]


def _zero(data: bytearray, other: bytes, draw: Random) -> None:
    place = _range(data, draw)
    data[place] = bytes(len(data[place]))


def _noise(data: bytearray, other: bytes, draw: Random) -> None:
    place = _range(data, draw)
    data[place] = draw.randbytes(len(data[place]))


def _repeat(data: bytearray, other: bytes, draw: Random) -> None:
    piece = data[_range(data, draw)] * draw.choice((1, 1, 2, 16))
    at = _place(data, draw)
    data[at:at] = piece


def _splice(data: bytearray, other: bytes, draw: Random) -> None:
    piece = other[_range(bytearray(other), draw)]
    at = _place(data, draw)
    data[at : at + draw.choice((0, len(piece)))] = piece


_KINDS: tuple[Callable[[bytearray, bytes, Random], None], ...] = (
    *(_flip, _flip, _flip, _flip, _number, _number, _number, _number),
    *(_cut, _remove, _zero, _noise, _repeat, _splice),
)
