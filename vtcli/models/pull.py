"""`vt pull`: download a model by name, and export it here if its GGUF files are not published."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vtcli.disk import existing
from vtcli.errors import ModelError, VtError
from vtcli.models import catalogue, hub, hub_cache, selection, store
from vtcli.models.checkpoint import MODEL_TYPE, Checkpoint, open_checkpoint
from vtcli.models.download import check_space, download, missing_bytes
from vtcli.models.files import read_json
from vtcli.models.hub import Listing
from vtcli.models.reference import Reference
from vtcli.models.sizes import BITS, export_bytes
from vtcli.models.store import Installed

_FIRST = ("Q4_K_M", "Q8_0")
"""Types to prefer in a repository of GGUF files if the user names none."""


class Follower(Protocol):
    """Callbacks for progress; sizes are in bytes."""

    def step(self, what: str, total: int | None) -> None:
        """Called when a step begins: a download of `total` bytes, or an export (None)."""

    def gained(self, count: int) -> None:
        """Called with the number of new bytes of the download; negative if some must be downloaded again."""

    def share(self, what: str, share: float) -> None:
        """Called with the completed share of the export, 0 to 1."""


@dataclass(frozen=True)
class Plan:
    """The plan of a pull: download the files `names` of `listing`, then export them as type `export`, if any.

    - `bytes`: the size of these files; `missing`: the part of it not yet on this machine.
    - `quant`: the type of downloaded GGUF files, None for a checkpoint.
    - `made` and `working`: for an export, its approximate size, and the space it needs in addition to the source while
      it runs.
    - `have`: the export, if it was made before.
    - `revision`: the requested branch or tag.
    """

    reference: Reference
    listing: Listing
    revision: str | None
    names: tuple[str, ...]
    bytes: int
    missing: int
    quant: str | None = None
    export: str | None = None
    made: int = 0
    working: int = 0
    have: Installed | None = None


def plan(reference: Reference) -> Plan:
    """Asks the hub for files and sizes; downloads only a checkpoint's small files. Raises ModelError."""
    if reference.repository is None:
        raise ModelError(f"{reference.name} is {_place(reference)}: there is nothing to pull")
    if hub.is_offline():
        raise ModelError(f"{reference} cannot be pulled: the network must not be used (HF_HUB_OFFLINE)")
    if reference.quant is None:
        listing = hub.list_files(reference.repository, reference.revision)
        kinds = selection.quants(listing)
        if not kinds or selection.SINGLE in listing.files or selection.INDEX in listing.files:
            return _checkpoint(reference, listing, None)
        quant = next((kind for kind in _FIRST if kind in kinds), kinds[0])
        return _gguf(reference, listing, reference.revision, quant)
    for repository in _listed(reference):
        if (published := _published(repository, reference.quant)) is not None:
            return _gguf(reference, published, None, reference.quant)
    listing = hub.list_files(reference.repository, reference.revision)
    kinds = selection.quants(listing)
    if reference.quant in kinds:
        return _gguf(reference, listing, reference.revision, reference.quant)
    if kinds and selection.SINGLE not in listing.files and selection.INDEX not in listing.files:
        raise ModelError(
            f"{reference.repository} has no {reference.quant} (there are: {', '.join(kinds).lower()}), and no "
            "checkpoint to make it from"
        )
    sibling = catalogue.gguf_repository(reference.repository)
    # Which revision of the checkpoint another repository's files were made from is unknown.
    if not reference.named_revision and (published := _published(sibling, reference.quant)) is not None:
        return _gguf(reference, published, None, reference.quant)
    if reference.quant not in BITS:
        raise ModelError(f"{reference.quant} is no type that vt can make: choose one of {', '.join(BITS).lower()}")
    return _checkpoint(reference, listing, reference.quant)


def pull(plan: Plan, follower: Follower, drop_source: bool = False) -> tuple[Installed, int]:
    """Runs the plan; returns the model and the bytes freed by deleting the source. Raises ModelError, VtError.

    A pull interrupted at any point resumes where it stopped.
    """
    if plan.export is not None:
        made = plan.have or _export(plan, _download(plan, follower), follower)
        exports = store.exports_folder(plan.listing.repository)
        hub_cache.point(exports, plan.revision or "main", plan.listing.commit)
        source = _found(plan, _snapshot(plan)) if drop_source else None
        return made, store.remove(source) if source else 0
    place = _download(plan, follower)
    path = place / plan.names[0] if plan.quant else place
    open_checkpoint(path)  # raises ModelError if the files do not match
    found = _found(plan, path)
    if found is None:
        raise ModelError(f"{plan.listing.repository} was fetched to {place}, but is no model that vt runs")
    return found, 0


def _download(plan: Plan, follower: Follower) -> Path:
    folder = hub_cache.repository_folder(plan.listing.repository)
    check_space(plan.missing + (plan.working if _same_disk(folder) else 0), folder, str(plan.reference))
    follower.step(f"downloading {plan.listing.repository}", plan.bytes)
    return download(plan.listing, plan.names, plan.revision, follower.gained)


def _place(reference: Reference) -> str:
    path = reference.entry.path if reference.entry else None
    return "embedded in vt" if path and path.parent.name in ("models", "_models") else f"at {path}"


def _checkpoint(reference: Reference, listing: Listing, export: str | None) -> Plan:
    if export is not None and (have := _exported(listing, export)):
        return Plan(reference, listing, reference.revision, (), 0, 0, export=export, have=have)
    small = selection.small_files(listing)
    if "config.json" not in small:
        raise ModelError(f"{listing.repository} is no model that vt runs: it has neither config.json nor GGUF files")
    folder = download(listing, small, reference.revision, lambda _count: None)
    config = read_json(folder / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise ModelError(
            f"{listing.repository} is a {config.get('model_type', 'nameless')} model: vt runs the Qwen2.5-VL family "
            f"({MODEL_TYPE}); nothing more was fetched"
        )
    names = (*small, *selection.weight_files(listing, folder))
    sizes = sum(listing.files[name].bytes for name in names)
    made = working = 0
    if export is not None:
        checkpoint = open_checkpoint(folder, weights=False)
        made, working = _export_bytes(checkpoint, export), _export_bytes(checkpoint, export)
        if BITS[export] < 16:
            working += _export_bytes(checkpoint, "BF16")
    missing = missing_bytes(listing, names)
    return Plan(
        reference, listing, reference.revision, names, sizes, missing, export=export, made=made, working=working
    )


def _gguf(reference: Reference, listing: Listing, revision: str | None, quant: str) -> Plan:
    names = tuple(selection.gguf_files(listing, quant))
    sizes = sum(listing.files[name].bytes for name in names)
    return Plan(reference, listing, revision, names, sizes, missing_bytes(listing, names), quant)


def _listed(reference: Reference) -> list[str]:
    """Returns the repositories in which, by the catalogue, the wanted type is published."""
    if reference.entry is None or reference.named_revision:
        return []
    return [one.repository for one in reference.entry.gguf if reference.quant in one.quants]


def _published(repository: str, quant: str) -> Listing | None:
    """Returns the files of a repository, None if it does not exist (any more) or has no GGUF files of this type.

    Raises ModelError if the hub does not answer: it is then unknown whether they are published.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        listing = hub.list_files(repository, None)
    except ModelError as error:
        if isinstance(error.__cause__, RepositoryNotFoundError):
            return None
        raise
    return listing if quant in selection.quants(listing) else None


def _export_bytes(checkpoint: Checkpoint, quant: str) -> int:
    return export_bytes(checkpoint.config, checkpoint.text_config, checkpoint.vision_config, quant)


def _exported(listing: Listing, quant: str) -> Installed | None:
    return next((one for one in store.exports(listing.repository, listing.commit) if one.quant == quant), None)


def _export(plan: Plan, place: Path, follower: Follower) -> Installed:
    from filelock import FileLock

    from vtcli.models.export import export

    assert plan.export is not None
    folder = store.exports_folder(plan.listing.repository, plan.listing.commit)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock"):  # another pull may be exporting this model
        for left in folder.parent.glob("*/.vt-export-*"):  # by an export that was killed
            shutil.rmtree(left)
        if (found := _exported(plan.listing, plan.export)) is None:
            check_space(plan.working, folder, f"exporting {plan.reference}")
            follower.step(f"exporting {plan.reference}", None)
            export(open_checkpoint(place), folder, plan.export, progress=follower.share)
            found = _exported(plan.listing, plan.export)
    if found is None:
        raise VtError(f"{plan.reference} was exported to {folder}, but cannot be found there")
    return found


def _found(plan: Plan, path: Path) -> Installed | None:
    """Returns the downloaded model at `path`, a snapshot or a GGUF file in it."""
    return next((one for one in store.in_snapshot(plan.listing.repository, _snapshot(plan)) if one.path == path), None)


def _snapshot(plan: Plan) -> Path:
    return hub_cache.repository_folder(plan.listing.repository) / "snapshots" / plan.listing.commit


def _same_disk(folder: Path) -> bool:
    return existing(store.exports_folder()).stat().st_dev == existing(folder).stat().st_dev
