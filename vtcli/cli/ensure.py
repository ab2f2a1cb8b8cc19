"""Selects the model for a question: the one named, the best installed one, or, if the user agrees, one to pull."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vtcli.cli import options

if TYPE_CHECKING:
    from vtcli.models.reference import Reference


def ensure_model(model: str | None, yes: bool, offline: bool, quiet: bool, color: options.Color) -> str:
    """Returns a model on this machine, in a form that `open_checkpoint` takes.

    For a name without a quantisation type this is the installed variant that suits the machine best. A missing model is
    offered for download on a terminal, and pulled without asking if `yes`. Raises ModelError with one line that names
    the command to run.
    """
    from vtcli.cli.pull import fetch
    from vtcli.errors import ModelError

    reference = _named(model) if model else None
    if model and reference is None:
        return model  # a path
    if here := _here(reference):
        return here
    wanted = reference if reference and reference.quant else _best(reference)
    problem = reference.missing if reference else "no model is installed"
    if offline:
        raise ModelError(f"{problem}, and --offline forbids to download {wanted}")
    if not yes and not _agreed(problem, wanted):
        raise ModelError(f"{problem}: run vt pull {wanted}, or name a folder or GGUF file with -m DIR|FILE.gguf")
    pulled = fetch(wanted, offline, False, quiet, color)
    return str(replace(wanted, quant=pulled.quant))  # by name: of a file, open_checkpoint would not know the prompt


def _named(model: str) -> Reference | None:
    from pathlib import Path

    from vtcli.models.reference import parse

    reference = parse(model)
    if reference is None or (reference.entry is None and Path(model).expanduser().exists()):
        return None
    return reference


def _here(reference: Reference | None) -> str | None:
    from vtcli.models import store

    installed = store.find(reference) if reference else []
    if reference is not None and len(installed) <= 1:
        return str(reference) if installed else None
    from vtcli.machine import places
    from vtcli.models.overview import default_model, fitting

    if reference is None:
        found = default_model(places())
        return str(found) if found else None
    found = fitting(installed, places())
    assert found is not None
    return str(replace(reference, quant=found.quant))


def _best(reference: Reference | None) -> Reference:
    """The variant to offer. Raises ModelError if none fits this machine, EngineError if no engine is installed."""
    from vtcli.errors import EngineError, ModelError
    from vtcli.install import install_command
    from vtcli.machine import places
    from vtcli.models import choose
    from vtcli.models.reference import parse

    here = places()
    if not here:
        raise EngineError(f"no engine is installed that could run a model: run {install_command('gguf')}")
    reference = reference or parse(choose.DEFAULT)
    if reference is None:
        raise ModelError("the catalogue is empty: name a model folder or GGUF file with -m")
    if (entry := reference.entry) is None or not (entry.config or entry.path):
        return reference  # of unknown size
    found = choose.best(choose.variants(entry), here)
    if found is None:
        room = max(place.free for place in here)
        raise ModelError(
            f"no variant of {entry.name} fits this machine ({room / 1e9:.1f} GB free): see vt models for smaller ones"
        )
    return replace(reference, quant=found[0].quant)


def _agreed(problem: str, wanted: Reference) -> bool:
    from vtcli.cli.confirm import confirm
    from vtcli.models import choose

    size = ""
    if wanted.entry:
        known = {one.quant: one for one in choose.variants(wanted.entry)}
        variant, checkpoint = known.get(wanted.quant), known.get(None)
        if variant and checkpoint:
            listed = () if wanted.named_revision else wanted.entry.gguf
            published = variant.quant is None or any(variant.quant in one.quants for one in listed)
            download = variant if published else checkpoint
            made = "" if published else f", of which {variant.bytes / 1e9:.1f} GB are made"
            size = f" ({download.bytes / 1e9:.1f} GB to download{made})"
    return confirm(f"vt: {problem}. Get {wanted}, which suits this machine{size}?", default=False)
