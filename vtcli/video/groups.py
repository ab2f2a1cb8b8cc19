"""Determines which packets must be decoded for a few frames; other groups of pictures are skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vtcli.video.index import PacketIndex


@dataclass(frozen=True)
class Group:
    """Wanted frames that are decoded from one key packet. Packets are numbered in decoding order.

    key: the packet to start from. wanted: packets of the wanted frames, ascending.
    """

    key: int
    wanted: tuple[int, ...]

    @property
    def last(self) -> int:
        return self.wanted[-1]

    @property
    def cost(self) -> int:
        """Packets from the key packet to the last wanted one."""
        return self.last + 1 - self.key


def plan_groups(index: PacketIndex, frames: Iterable[int]) -> list[Group] | None:
    """Returns the groups that yield the frames with these numbers, ascending; None where the index cannot tell.

    A frame belongs to the last key packet that precedes it both in decoding and in presentation order: frames shown
    before a keyframe but decoded after it (open group of pictures) need the previous group.
    """
    order = index.order
    if order is None:
        return None
    keys = np.flatnonzero(index.key)
    groups: dict[int, list[int]] = {}
    for packet in sorted({int(order[i]) for i in frames}):
        before = keys[: np.searchsorted(keys, packet, "right")]
        before = before[index.pts[before] <= index.pts[packet]]
        if not before.size:
            return None
        groups.setdefault(int(before[-1]), []).append(packet)
    return [Group(key, tuple(wanted)) for key, wanted in sorted(groups.items())]
