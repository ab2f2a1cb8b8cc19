"""Find the models on this machine: embedded, in the Hugging Face cache, or exported by `vt pull NAME:QUANT`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtcli.errors import ModelError, VtError
from vtcli.models import catalogue, hub_cache
from vtcli.models.catalogue import Entry
from vtcli.models.checked import Checked
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
    """Yields every complete model of the family on this machine, each in the revision that its name alone stands for.

    A folder that cannot be read is left out: other programs write to the cache, too.
    """
    for entry in catalogue.entries().values():
        if entry.path is not None:
            with contextlib.suppress(OSError):
                if found := _named_folder(entry, entry.path):
                    yield found
    for repository, folder in hub_cache.repositories():
        with contextlib.suppress(ModelError, OSError):
            if (place := hub_cache.snapshot(folder, _pinned(repository))) is not None:
                yield from in_snapshot(repository, place)
    for folder in sorted(exports_folder().glob("*--*")):
        repository = folder.name.replace("--", "/", 1)
        with contextlib.suppress(ModelError, OSError):
            yield from _made(repository, _pinned(repository))


def find(reference: Reference) -> list[Installed]:
    """Returns the installed variants of the model that `reference` names, in no order of preference.

    If the user named a revision, only the named repository has it: those of published exports are not searched.
    """
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
    """Yields repositories with unfinished downloads of vt's, and the bytes these take."""
    for repository, folder in hub_cache.repositories():
        if size := sum(hub_cache.file_size(file) for file in hub_cache.partials(folder)):
            yield repository, size


def remove_partial(repository: str) -> int:
    """Deletes vt's unfinished downloads of a repository, and what else is there of these models; returns bytes freed.

    Complete models stay. So does every snapshot with a file that vt did not verify: another program uses it.
    """
    folder = hub_cache.repository_folder(repository)
    freed, unwanted = 0, []
    for part in hub_cache.partials(folder):
        freed += hub_cache.file_size(part)
        part.unlink()
    checked = Checked(folder)
    for place in (folder / "snapshots").glob("*"):
        files = [file for file in place.rglob("*") if not file.is_dir()]
        if all(file.exists() and file in checked for file in files):
            needed = {file for one in in_snapshot(repository, place) for file in one.files}
            unwanted += [file for file in files if file not in needed]
    return freed + hub_cache.remove(folder, unwanted)


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
    folder = model.path.parent
    if not any(folder.glob("*.gguf")):
        shutil.rmtree(folder)
        if not any(_commits(folder.parent)):
            shutil.rmtree(folder.parent)
    return freed


def _own(model: Installed) -> list[Path]:
    """Returns the model's files except those that another model needs, such as a shared projector."""
    assert model.repository is not None and model.revision is not None
    if model.where == MADE:
        beside = exports(model.repository, model.revision)
    else:
        folder = hub_cache.repository_folder(model.repository)
        beside = in_snapshot(model.repository, folder / "snapshots" / model.revision)
    others = {file for one in beside if one != model for file in one.files}
    return [file for file in model.files if file not in others]


def _found(reference: Reference) -> Iterator[Installed]:
    """Yields models in the checkpoint's repository, in those of its exports, and among the exports made here."""
    for repository in repositories(reference):
        revision = reference.revision if repository == reference.repository else None
        place = hub_cache.snapshot(hub_cache.repository_folder(repository), revision)
        if place is not None:
            yield from in_snapshot(repository, place)
        yield from _made(repository, revision)


def repositories(reference: Reference) -> tuple[str, ...]:
    """Returns the repositories that may hold the model that `reference` names."""
    if reference.repository is not None and reference.named_revision:
        return (reference.repository,)
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


def in_snapshot(repository: str, place: Path) -> Iterator[Installed]:
    """Yields the complete models in a snapshot of a repository."""
    name = _name(repository)
    if found := _checkpoint(name, place, HUB, repository, place.name):
        yield found
    yield from _gguf(name, place, HUB, repository, place.name)


def exports(repository: str, commit: str) -> Iterator[Installed]:
    """Yields the exports made here of one commit of a checkpoint."""
    yield from _gguf(_name(repository), exports_folder(repository, commit), MADE, repository, commit)


def _made(repository: str, revision: str | None) -> Iterator[Installed]:
    """Yields the exports made here of one revision; without one, for each type that of main, or else the latest."""
    folder = exports_folder(repository)
    seen = folder, hub_cache.repository_folder(repository)
    commits = [hub_cache.commit_of(place, revision or "main") for place in seen]
    if revision is None:
        latest_first = sorted(_commits(folder), key=lambda place: place.stat().st_mtime, reverse=True)
        commits += [place.name for place in latest_first]
    found: dict[str | None, Installed] = {}
    for commit in commits:
        for one in exports(repository, commit):
            found.setdefault(one.quant, one)
    yield from found.values()


def _commits(folder: Path) -> Iterator[Path]:
    """Yields the folders of commits among those of one checkpoint's exports."""
    return (place for place in folder.glob("*") if place.is_dir() and place.name != "refs")


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
    files = sorted(file for file in folder.rglob("*.gguf") if file.is_file())  # no link to a blob that is gone
    for file in files:
        quant = quant_of(file.name)
        projectors = [one for one in files if one.parent == file.parent and is_projector(one)]
        if quant and projectors and not is_projector(file) and gguf_architecture(file) == TEXT_ARCHITECTURE:
            all_files = (file, *projectors)
            yield Installed(name, quant, file, all_files, _bytes(all_files), where, repository, revision)


def _bytes(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files)
