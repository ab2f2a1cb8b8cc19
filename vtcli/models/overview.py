"""What `vt models` shows: every model there is to have, what of it is here, and what fits this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtcli.errors import ModelError
from vtcli.machine import Place
from vtcli.models import catalogue, choose, store
from vtcli.models.catalogue import Entry
from vtcli.models.choose import Variant
from vtcli.models.store import Installed


@dataclass(frozen=True)
class Row:
    """One variant of a model. `entry` is None for one that the catalogue does not know, and then `here` is not.

    `bytes` on the disk, about, unless it is here. `memory` bytes that a question about 16 frames takes on `device`,
    the best that this machine has for the variant, None where no engine for it is installed or its sizes are not
    known; `fits` whether they are free there.
    """

    name: str
    quant: str | None
    entry: Entry | None
    here: Installed | None
    bytes: int
    memory: int | None = None
    device: str | None = None
    fits: bool = False

    def __str__(self) -> str:
        return f"{self.name}:{self.quant.lower()}" if self.quant else self.name


def rows(places: list[Place]) -> Iterator[Row]:
    """The catalogue's models with their variants, vt's own first, then whatever else is in the Hugging Face cache."""
    here = {(one.name, one.quant): one for one in store.installed()}
    known = catalogue.entries()
    first = [known[choose.DEFAULT]] if choose.DEFAULT in known else []
    for entry in [*first, *(one for one in known.values() if one not in first)]:
        offered = {one.quant: one for one in choose.variants(entry) if one.quant is None or one.quant in choose.QUANTS}
        found = {quant: one for (name, quant), one in here.items() if name == entry.name}
        for quant in dict.fromkeys([*offered, *found]):
            variant = offered.get(quant) or Variant(entry, quant, found[quant].bytes)
            yield _row(variant, here.pop((entry.name, quant), None), places)
        if not offered and not found:  # the user's own folder, gone
            yield Row(entry.name, None, entry, None, 0)
    for one in here.values():
        yield Row(one.name, one.quant, None, one, one.bytes)


def default_model(places: list[Place]) -> Installed | None:
    """What `vt ask` uses where nothing is named: the catalogue's first choice if it is here, else what else is here.

    Models that come with vt are never taken for a question that was not asked of them.
    """
    here = [one for one in store.installed() if one.where != store.EMBEDDED]
    preferred = [one for one in here if one.name == choose.DEFAULT] or here
    return fitting(preferred, places)


def fitting(models: list[Installed], places: list[Place]) -> Installed | None:
    """Of several variants that are here, the one that serves best on this machine; the smallest if none fits."""
    known = catalogue.entries()
    variants = [(Variant(known[one.name], one.quant, one.bytes), one) for one in models if one.name in known]
    if (found := choose.best([variant for variant, _ in variants], places)) is not None:
        return next(one for variant, one in variants if variant is found[0])
    return min(models, key=lambda one: one.bytes, default=None)


def _row(variant: Variant, here: Installed | None, places: list[Place]) -> Row:
    entry, size = variant.entry, here.bytes if here else variant.bytes
    row = Row(entry.name, variant.quant, entry, here, size)
    engine = "llama-cpp" if variant.quant else "transformers"
    mine = [place for place in places if place.engine == engine]
    try:
        needs = [(choose.need(variant, place), place) for place in mine]
    except (ModelError, KeyError):
        return row
    chosen = next((one for one in needs if one[0] <= one[1].free), needs[-1] if needs else None)
    if chosen is None:
        return row
    memory, place = chosen
    return Row(entry.name, variant.quant, entry, here, size, memory, place.device, memory <= place.free)
