"""Select the files of a repository that make up a model: a checkpoint or a GGUF pair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vtcli.errors import ModelError
from vtcli.models.files import read_json
from vtcli.models.gguf_pair import is_projector
from vtcli.models.hub import Listing

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_QUANT = re.compile(r"(?:^|[.-])(I?Q\d\w*|BF16|F16|F32)\.gguf$", re.IGNORECASE)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_SMALL = 100 * 10**6  # bytes; the family's largest tokenizer file is 11 MB
_EXACT_FIRST = ("F16", "BF16", "F32", "Q8_0")
"""Projector types in order of preference: F16 is exact enough, as measured in docs/fidelity.md."""


def quant_of(name: str) -> str | None:
    """Returns the type in a GGUF file's name, in llama.cpp's spelling, such as "Q4_K_M"; None if it has none."""
    match = _QUANT.search(name)
    return match[1].upper() if match else None


def small_files(listing: Listing) -> list[str]:
    """Returns the files beside a checkpoint's weights: configurations, tokenizer, template.

    Raises ModelError if one of them is larger than 100 MB.
    """
    ending = (".json", ".txt", ".jinja")
    found = [file for file in listing.files.values() if "/" not in file.name and file.name.endswith(ending)]
    if large := [file.name for file in found if file.bytes > _SMALL]:
        raise ModelError(f"{listing.repository} has a {large[0]} of more than 100 MB: not fetched")
    return sorted(file.name for file in found)


def weight_files(listing: Listing, folder: Path) -> list[str]:
    """Returns the safetensors files of a checkpoint whose small files are in `folder`.

    Raises ModelError if the repository has none, or lacks a file that the index names.
    """
    if SINGLE in listing.files and INDEX not in listing.files:
        return [SINGLE]
    if INDEX not in listing.files:
        pickles = f", only pickles ({listing.refused[0]}), which vt never loads" if listing.refused else ""
        raise ModelError(f"{listing.repository} has no safetensors weights{pickles}")
    index = read_json(folder / INDEX).get("weight_map")
    shards = sorted({str(file) for file in index.values()}) if isinstance(index, dict) else []
    if not shards or (lacking := [file for file in shards if file not in listing.files]):
        what = f"names {lacking[0]}, which is not there" if shards else "names no files"
        raise ModelError(f"{INDEX} of {listing.repository} {what}")
    return shards


def quants(listing: Listing) -> list[str]:
    """Returns the types for which the repository has a text model and a projector in one folder."""
    return sorted({quant for name, quant in _texts(listing) if _projectors(listing, name)})


def gguf_files(listing: Listing, quant: str) -> list[str]:
    """Returns the text model of type `quant` and its projector. Raises ModelError, listing the available types."""
    found = [name for name, kind in _texts(listing) if kind == quant and _projectors(listing, name)]
    if not found:
        there = ", ".join(kind.lower() for kind in quants(listing))
        split = any(_SPLIT.search(name) for name in listing.files)
        reason = "; files in parts are not read" if split else ""
        raise ModelError(
            f"{listing.repository} has no {quant} model with a projector (there are: {there or 'none'}{reason})"
        )
    text = min(found, key=len)  # prefer the plain name over variants such as imatrix
    rank = {kind: number for number, kind in enumerate(_EXACT_FIRST)}
    projectors = _projectors(listing, text)
    return [text, min(projectors, key=lambda name: (rank.get(quant_of(name) or "", len(rank)), name))]


def _texts(listing: Listing) -> Iterator[tuple[str, str]]:
    for name in sorted(listing.files):
        if name.endswith(".gguf") and not is_projector(Path(name)) and (quant := quant_of(name)):
            yield name, quant


def _projectors(listing: Listing, text: str) -> list[str]:
    folder = PurePosixPath(text).parent
    return [
        name
        for name in listing.files
        if name.endswith(".gguf") and is_projector(Path(name)) and PurePosixPath(name).parent == folder
    ]
