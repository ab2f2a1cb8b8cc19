"""Choose the variant of a model that suits this machine: the checkpoint itself, or one of the quantised exports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vtcli.engines.device import SMALL
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
    """The checkpoint (`quant` None) or an export of a catalogue entry; `bytes` is its approximate size on disk."""

    entry: Entry
    quant: str | None
    bytes: int

    def __str__(self) -> str:
        return f"{self.entry.name}:{self.quant.lower()}" if self.quant else self.entry.name


def variants(entry: Entry) -> list[Variant]:
    """Returns the variants of an entry on the hub: the checkpoint, the exports in `QUANTS`, then other listed types."""
    if entry.repository is None or not entry.config:
        return []
    listed = [quant for one in entry.gguf for quant in one.quants]
    return [Variant(entry, quant, _bytes(entry, quant)) for quant in (None, *dict.fromkeys((*QUANTS, *listed)))]


def best(variants: Iterable[Variant], places: Iterable[Place]) -> tuple[Variant, Place] | None:
    """Returns the best variant for this machine and where it runs; None if none fits.

    `variants` must be ordered from the most exact to the smallest. A GPU is preferred and gets the most exact variant
    that fits. The CPU gets the smallest, because it reads every weight for every token.
    """
    all_variants, all_places = list(variants), list(places)
    for device in ("cuda", "mps", "cpu"):
        here = [place for place in all_places if place.device == device]
        offered = [one for one in all_variants if one.quant is None or one.quant in QUANTS]
        if device == "mps":  # bfloat16 would leave no memory for a laptop's other programs
            offered = [one for one in offered if one.quant] + [one for one in offered if not one.quant]
        if device == "cpu":
            offered.reverse()
        for variant in offered:
            for place in here:
                if fits(variant, place):
                    return variant, place
    return None


def fits(variant: Variant, place: Place) -> bool:
    """Whether `place` has an engine for the variant, and memory for its weights and the paper's 16 frames."""
    runs = place.engine == ("llama-cpp" if variant.quant else "transformers")
    return runs and need(variant, place) <= place.free


def need(variant: Variant, place: Place) -> int:
    """Returns the bytes of memory that a question about 16 frames takes. Raises ModelError if the entry lacks sizes."""
    checkpoint = _planned(variant)
    is_small = checkpoint.weights.parameters <= SMALL  # runs in float32 everywhere
    return memory_by_part(checkpoint, _CLIP, None if is_small else place.value_bytes, place.device)["total"]


def _planned(variant: Variant) -> Checkpoint:
    entry = variant.entry
    checkpoint = open_checkpoint(entry.name) if entry.path else planned_checkpoint(entry)
    if variant.quant is None:
        return checkpoint
    weights = Weights((), checkpoint.weights.parameters, variant.bytes)
    return replace(checkpoint, weights=weights, projector=Path(), quant=variant.quant)


def _bytes(entry: Entry, quant: str | None) -> int:
    checkpoint = planned_checkpoint(entry)
    if quant is None:
        return 2 * checkpoint.weights.parameters
    return export_bytes(checkpoint.config, checkpoint.text_config, checkpoint.vision_config, quant)
