"""Choose the variant of a model that suits this machine: the checkpoint itself, or one of the quantised exports."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vtcli.engines.device import SMALL
from vtcli.errors import ModelError
from vtcli.machine import Place
from vtcli.memory import Clip, memory_by_part
from vtcli.models.catalogue import Entry
from vtcli.models.checkpoint import Checkpoint, open_checkpoint, planned_checkpoint
from vtcli.models.sizes import export_bytes
from vtcli.models.weights import Weights

DEFAULT = "video-thinker-7b"
QUANTS = ("Q8_0", "Q4_K_M")
"""Exports that vt offers, the more exact first."""
_CLIP = Clip(16, 224, 420, 1500)
"""The question that must fit: the paper's 16 frames of a 16:9 video, its prompt and a reply of 1,024 tokens."""


@dataclass(frozen=True)
class Variant:
    """The checkpoint (`quant` None) or an export of an entry.

    `bytes` is its approximate size on disk, 0 if unknown. `path` is its folder or file on this machine, or None if it
    is only on the hub.
    """

    entry: Entry
    quant: str | None
    bytes: int
    path: Path | None = None

    @property
    def engine(self) -> str:
        """The engine that runs it, as named in `Place`."""
        return "llama-cpp" if self.quant else "transformers"

    def __str__(self) -> str:
        return f"{self.entry.name}:{self.quant.lower()}" if self.quant else self.entry.name


def variants(entry: Entry) -> list[Variant]:
    """Returns the variants of an entry: the checkpoint, the exports in `QUANTS`, then other listed types.

    If the entry names a folder or lacks its sizes, the checkpoint is the only variant.
    """
    if entry.path is not None:
        return [Variant(entry, None, 0, entry.path)]
    if entry.repository is None:
        return []
    listed = [quant for one in entry.gguf for quant in one.quants]
    try:
        return [Variant(entry, quant, _bytes(entry, quant)) for quant in (None, *dict.fromkeys((*QUANTS, *listed)))]
    except ModelError:
        return [Variant(entry, None, 0)]


def best(variants: Iterable[Variant], places: Iterable[Place]) -> tuple[Variant, Place] | None:
    """Returns the best variant for this machine and where it runs; None if none fits.

    `variants` must be ordered from the most exact to the smallest. A GPU is preferred and gets the most exact variant
    that fits. The CPU gets the smallest, because it reads every weight for every token. Variants that cannot be planned
    are skipped. Raises ModelError if an engine is installed, but no variant that it runs can be planned.
    """
    all_places = list(places)
    offered: list[tuple[Variant, list[Place]]] = []
    problem: ModelError | None = None
    for variant in variants:
        try:
            if runs := [place for place in all_places if place.engine == variant.engine]:
                offered.append((variant, [place for place in runs if need(variant, place) <= place.free]))
        except ModelError as error:
            problem = error
    if problem and not offered:
        raise problem
    for device in ("cuda", "mps", "cpu"):
        for variant, fitting in _preferred(offered, device):
            for place in fitting:
                if place.device == device:
                    return variant, place
    return None


def _preferred(offered: Iterable[tuple[Variant, list[Place]]], device: str) -> list[tuple[Variant, list[Place]]]:
    """Returns the variants that vt offers, in order of preference on `device`."""
    ordered = [one for one in offered if one[0].quant is None or one[0].quant in QUANTS]
    if device == "mps":  # bfloat16 would leave no memory for a laptop's other programs
        ordered.sort(key=lambda one: one[0].quant is None)
    if device == "cpu":
        ordered.reverse()
    return ordered


def need(variant: Variant, place: Place) -> int:
    """Returns the bytes of memory that a question about 16 frames takes.

    Raises ModelError if the variant cannot be planned.
    """
    checkpoint = planned(variant)
    is_small = checkpoint.weights.parameters <= SMALL  # runs in float32 everywhere
    return memory_by_part(checkpoint, _CLIP, None if is_small else place.value_bytes, place.device)["total"]


def planned(variant: Variant) -> Checkpoint:
    """Returns the variant's sizes: those of its own files, or its entry's if it is not on this machine.

    Raises ModelError if the files are not there or cannot be read, or if the entry lacks its sizes.
    """
    entry = variant.entry
    if variant.path is not None:
        if not os.path.exists(variant.path):
            raise ModelError(f"{entry.name} is not there: its catalogue entry names {variant.path}")
        return open_checkpoint(variant.path)
    try:
        checkpoint = planned_checkpoint(entry)
    except ModelError as error:
        raise ModelError(
            f"the catalogue entry of {entry.name} lacks sizes to plan with ([config]): run vt pull {entry.name}"
        ) from error
    if variant.quant is None:
        return checkpoint
    weights = Weights((), checkpoint.weights.parameters, variant.bytes)
    return replace(checkpoint, weights=weights, projector=Path(), quant=variant.quant)


def _bytes(entry: Entry, quant: str | None) -> int:
    checkpoint = planned_checkpoint(entry)
    if quant is None:
        return 2 * checkpoint.weights.parameters
    return export_bytes(checkpoint.config, checkpoint.text_config, checkpoint.vision_config, quant)
