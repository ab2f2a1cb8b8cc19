"""The models vt knows by name: one TOML file each, beside the files of the embedded models.

The shipped folder is `vtcli/_models` in an installed wheel and `models/` at the top of a checkout. The user's folder is
`models/` beside config.toml; its entries override shipped entries of the same name. models/README.md lists the keys.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError, first_line
from vtcli.prompt import PROMPTS
from vtcli.settings import config_file


@dataclass(frozen=True)
class GgufSet:
    """A repository on the hub with GGUF files of a model, and the types of its text models."""

    repository: str
    quants: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One catalogue entry.

    - `name`: in lower case; users may type it in any case.
    - `repository` and `revision`: the checkpoint on the hub.
    - `gguf`: repositories that publish exports.
    - `path`: the folder of a model that does not come from the hub: embedded, or the user's own.
    - `prompt`: one of `vtcli.prompt.PROMPTS`.
    - `scope`: what the model can do.
    - `config`: the part of its config.json that planning needs, for a model that is not on this machine.
    - `unverified`: the keys that could not be checked when the entry was written.
    """

    name: str
    family: str = ""
    description: str = ""
    licence: str = ""
    scope: str = ""
    repository: str | None = None
    revision: str | None = None
    gguf: tuple[GgufSet, ...] = ()
    prompt: str = "video-thinker"
    path: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "family": str,
    "description": str,
    "licence": str,
    "scope": str,
    "repository": str,
    "revision": str,
    "gguf": list,
    "prompt": str,
    "path": str,
    "config": dict,
    "unverified": list,
}


def folder() -> Path | None:
    """Returns the shipped catalogue's folder, or None if the installation has none."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_models", package.parent / "models"):
        if place.is_dir():
            return place
    return None


def entries(place: Path | None = None) -> dict[str, Entry]:
    """Returns all entries by name, in alphabetical order of each folder's files; `place` replaces both folders (tests).

    Hidden files and links to nothing are skipped: editors leave them as locks. Raises ModelError for a file that cannot
    be read or has an invalid key or value.
    """
    places = [place] if place else [folder(), config_file().parent / "models"]
    found = [file for one in places if one for file in sorted(one.glob("[!.]*.toml"))]
    files = [file for file in found if os.path.isfile(file)]  # unlike Path.is_file, never raises
    return {entry.name: entry for entry in (_read(file, file.stat().st_mtime_ns) for file in files)}


def entry_of(repository: str) -> Entry | None:
    """Returns the entry whose checkpoint or GGUF files are in this repository, if any."""
    return next((entry for entry in entries().values() if repository in repositories(entry)), None)


def repositories(entry: Entry) -> tuple[str, ...]:
    """Returns the entry's repositories on the hub: the checkpoint's, its owner's for GGUF files, and those listed."""
    own = (entry.repository, gguf_repository(entry.repository)) if entry.repository else ()
    return (*own, *(one.repository for one in entry.gguf))


def gguf_repository(repository: str) -> str:
    """Returns the repository in which, by convention, the same owner publishes a checkpoint's GGUF files."""
    return f"{repository}-GGUF"


@lru_cache
def _read(file: Path, changed: int) -> Entry:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the catalogue entry {file.name} cannot be read: {first_line(error)}") from error
    for key, value in values.items():
        if key not in _TYPES:
            raise ModelError(f"{file}: no such key '{key}' (there are: {', '.join(_TYPES)})")
        if not isinstance(value, _TYPES[key]):
            raise ModelError(f"{file}: {key} has a value of another kind")
    if (prompt := values.get("prompt", "video-thinker")) not in PROMPTS:
        raise ModelError(f"{file}: prompt is one of {', '.join(PROMPTS)}, not {prompt}")
    name = values.get("name", file.stem)
    files = Path(values["path"]).expanduser() if "path" in values else file.parent / name
    known = {key: value for key, value in values.items() if key not in ("name", "path", "gguf", "unverified")}
    return Entry(
        name=name.lower(),
        path=files if "path" in values or (files / "config.json").is_file() else None,
        gguf=tuple(_gguf(file, one) for one in values.get("gguf", [])),
        unverified=tuple(map(str, values.get("unverified", []))),
        **known,
    )


def _gguf(file: Path, values: Any) -> GgufSet:
    try:
        return GgufSet(str(values["repository"]), tuple(str(quant).upper() for quant in values["quants"]))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: a [[gguf]] needs repository and quants") from error
