"""Find the models on this machine: embedded, in the Hugging Face cache, or exported by `vt pull NAME:QUANT`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtcli.errors import ModelError, VtError
from vtcli.models import catalogue, hub_cache
from vtcli.models.catalogue import Entry
from vtcli.models.files import read_json
from vtcli.models.gguf import gguf_architecture
from vtcli.models.gguf_pair import TEXT_ARCHITECTURE, is_projector
from vtcli.models.reference import Reference
from vtcli.models.selection import quant_of
from vtcli.models.weights import find_weights
from vtcli.settings import data_folder

EMBEDDED, OWN, HUB, MADE = "embedded", "own folder", "hub", "made here"
"""Values of `where`: comes with vt, in a folder that the user's own catalogue entry names, in the cache, exported."""


@dataclass(frozen=True)
class Installed:
    """A model that `vt ask -m` accepts; `path` is its folder or the GGUF file of its text model.

    `files` are all its files and `bytes` their total size. `where` is one of the values above. `repository` and
    `revision` (a commit) identify its source.
    """

    name: str
    quant: str | None
    path: Path
    files: tuple[Path, ...]
    bytes: int
    where: str
    repository: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.quant.lower()}" if self.quant else self.name


def installed() -> Iterator[Installed]:
    """Yields every complete model of the family on this machine."""
    known = catalogue.entries()
    for entry in known.values():
        if entry.path is not None and (found := _named_folder(entry, entry.path)):
            yield found
    for repository, folder in hub_cache.repositories():
        if (place := hub_cache.snapshot(folder, _pinned(repository))) is not None:
            yield from _in_snapshot(repository, place)
    for folder in sorted(exports_folder().glob("*--*/*")):
        yield from _exports(folder.parent.name.replace("--", "/", 1), folder)


def find(reference: Reference) -> list[Installed]:
    """Returns the installed variants of the model that `reference` names, in no order of preference."""
    if reference.entry and reference.entry.path:
        found = [_named_folder(reference.entry, reference.entry.path)]
    else:
        found = [*_found(reference)]
    return [one for one in found if one and reference.quant in (None, one.quant)]


def exports_folder(repository: str | None = None, revision: str = "") -> Path:
    """Returns the folder for exports made by `vt pull`: of all models, or of one checkpoint's commit."""
    place = data_folder() / "models"
    return place / repository.replace("/", "--") / revision if repository else place


def partial() -> Iterator[tuple[str, int]]:
    """Yields repositories with unfinished downloads, and the bytes these take."""
    for repository, folder in hub_cache.repositories():
        if size := hub_cache.partial_bytes(folder):
            yield repository, size


def remove(model: Installed) -> int:
    """Deletes the files that only this model needs; returns the bytes freed.

    Raises VtError if the model comes with vt or is the user's own folder.
    """
    if model.repository is None:
        raise VtError(f"{model.name} comes with vt and stays" if model.where == EMBEDDED else f"{model.path} is yours")
    if model.where == HUB:
        return hub_cache.remove(hub_cache.repository_folder(model.repository), _own(model))
    freed = 0
    for file in _own(model):
        freed += file.stat().st_size
        file.unlink()
    if not any(model.path.parent.glob("*.gguf")):
        shutil.rmtree(model.path.parent)
        if not any(model.path.parent.parent.iterdir()):
            model.path.parent.parent.rmdir()
    return freed


def _own(model: Installed) -> list[Path]:
    """Returns the model's files except those that another model needs, such as a shared projector."""
    others = {file for one in installed() if one != model for file in one.files}
    return [file for file in model.files if file not in others]


def _found(reference: Reference) -> Iterator[Installed]:
    """Yields models in the checkpoint's repository, in those of its exports, and among the exports made here."""
    for repository in _repositories(reference):
        revision = reference.revision if repository == reference.repository else None
        place = hub_cache.snapshot(hub_cache.repository_folder(repository), revision)
        if place is not None:
            yield from _in_snapshot(repository, place)
        for folder in sorted(exports_folder(repository).glob("*")):
            if reference.revision is None or (place is not None and folder.name == place.name):
                yield from _exports(repository, folder)


def _repositories(reference: Reference) -> tuple[str, ...]:
    if reference.entry is not None:
        return catalogue.repositories(reference.entry)
    assert reference.repository is not None  # without an entry it is what was named
    return reference.repository, catalogue.gguf_repository(reference.repository)


def _pinned(repository: str) -> str | None:
    entry = catalogue.entry_of(repository)
    return entry.revision if entry and entry.repository == repository else None


def _name(repository: str) -> str:
    entry = catalogue.entry_of(repository)
    return entry.name if entry else repository


def _in_snapshot(repository: str, place: Path) -> Iterator[Installed]:
    name = _name(repository)
    if found := _checkpoint(name, place, HUB, repository, place.name):
        yield found
    yield from _gguf(name, place, HUB, repository, place.name)


def _exports(repository: str, folder: Path) -> Iterator[Installed]:
    yield from _gguf(_name(repository), folder, MADE, repository, folder.name)


def _named_folder(entry: Entry, path: Path) -> Installed | None:
    shipped = catalogue.folder()
    where = EMBEDDED if shipped is not None and path.is_relative_to(shipped) else OWN
    return _checkpoint(entry.name, path, where, None, entry.revision)


def _checkpoint(
    name: str, path: Path, where: str, repository: str | None = None, revision: str | None = None
) -> Installed | None:
    try:
        if read_json(path / "config.json").get("model_type") != "qwen2_5_vl":
            return None
        weights = find_weights(path)
    except ModelError:
        return None
    beside = [file for file in path.iterdir() if file.is_file() and file.suffix in (".json", ".txt", ".jinja")]
    files = (*weights.files, *sorted(beside))
    return Installed(name, None, path, files, _bytes(files), where, repository, revision)


def _gguf(name: str, folder: Path, where: str, repository: str, revision: str) -> Iterator[Installed]:
    files = sorted(folder.rglob("*.gguf"))
    for file in files:
        quant = quant_of(file.name)
        projectors = [one for one in files if one.parent == file.parent and is_projector(one)]
        if quant and projectors and not is_projector(file) and gguf_architecture(file) == TEXT_ARCHITECTURE:
            all_files = (file, *projectors)
            yield Installed(name, quant, file, all_files, _bytes(all_files), where, repository, revision)


def _bytes(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files)
