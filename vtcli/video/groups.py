"""Which packets must be decoded for a few frames: whole groups of pictures are passed over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vtcli.video.index import PacketIndex


@dataclass(frozen=True)
class Group:
    """Wanted frames that one key packet leads to. Packets are numbered in decoding order.

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
    """The groups that give the frames with these numbers, ascending; None where the index does not tell.

    A frame belongs to the last key packet that comes before it both in decoding and in presentation order: frames
    shown before a key frame, though decoded after it (open group of pictures), need the group before.
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
