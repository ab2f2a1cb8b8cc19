"""The table of `vt models`: every available model, which variants are installed, and what fits this machine."""

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
    """One variant of a model. `entry` is None for a model outside the catalogue; `here` is then set.

    `bytes` is the size on disk, exact if installed and otherwise approximate. `memory` is the bytes that a question
    about 16 frames takes on `device`, the fastest device with room for it or else the CPU; it is None if no engine for
    the variant is installed or its sizes are unknown. `fits` tells whether these bytes are free there.
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
    """Yields the catalogue's models with their variants, the default model first, then other models on this machine."""
    here = {(one.name, one.quant): one for one in store.installed()}
    known = catalogue.entries()
    first = [known[choose.DEFAULT]] if choose.DEFAULT in known else []
    for entry in [*first, *(one for one in known.values() if one not in first)]:
        offered = {one.quant: one for one in choose.variants(entry) if one.quant is None or one.quant in choose.QUANTS}
        found = {quant: one for (name, quant), one in here.items() if name == entry.name}
        for quant in dict.fromkeys([*offered, *found]):
            own = here.pop((entry.name, quant), None)
            yield _row(_installed(own, entry) if own else offered[quant], own, places)
        if not offered and not found:  # an entry without repository or folder
            yield Row(entry.name, None, entry, None, 0)
    for one in here.values():
        yield Row(one.name, one.quant, None, one, one.bytes)


def default_model(places: list[Place]) -> Installed | None:
    """Returns the model that `vt ask` uses by default: the catalogue's default if installed, else another one.

    Models that come with vt are only used when named.
    """
    here = [one for one in store.installed() if one.where != store.EMBEDDED]
    preferred = [one for one in here if one.name == choose.DEFAULT] or here
    return fitting(preferred, places)


def fitting(models: list[Installed], places: list[Place]) -> Installed | None:
    """Returns the best of several installed variants for this machine; the smallest if none fits.

    Variants whose engine is not installed count only if no other is left.
    """
    known, engines = catalogue.entries(), {place.engine for place in places}
    largest_first = sorted(models, key=lambda one: -one.bytes)  # the larger of two variants is the more exact one
    variants = [(_installed(one, known.get(one.name)), one) for one in largest_first]
    try:
        found = choose.best([variant for variant, _ in variants], places)
    except ModelError:  # reported when the model is opened
        found = None
    if found is not None:
        return next(one for variant, one in variants if variant is found[0])
    runnable = [one for variant, one in variants if variant.engine in engines]
    return min(runnable or models, key=lambda one: one.bytes, default=None)


def _installed(model: Installed, entry: Entry | None) -> Variant:
    """Returns the variant that `model` is; it need not be in the catalogue."""
    return Variant(entry or Entry(model.name), model.quant, model.bytes, model.path)


def _row(variant: Variant, here: Installed | None, places: list[Place]) -> Row:
    entry, size = variant.entry, here.bytes if here else variant.bytes
    row = Row(entry.name, variant.quant, entry, here, size)
    mine = [place for place in places if place.engine == variant.engine]
    try:
        needs = [(choose.need(variant, place), place) for place in mine]
    except ModelError:
        return row
    chosen = next((one for one in needs if one[0] <= one[1].free), needs[-1] if needs else None)
    if chosen is None:
        return row
    memory, place = chosen
    return Row(entry.name, variant.quant, entry, here, size, memory, place.device, memory <= place.free)
