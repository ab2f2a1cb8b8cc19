"""The models vt knows by name: one TOML file each, beside the files of those that are embedded.

The folder is `vtcli/_models` in an installed wheel and `models/` at the top of a checkout.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError, first_line


@dataclass(frozen=True)
class Entry:
    """One catalogue entry.

    `scope` says what the model can do; `path` is its folder, None when not on this machine; `config` what its
    config.json says of its size, for planning without it, {} where the folder is embedded.
    """

    name: str
    family: str
    description: str
    licence: str
    scope: str
    revision: str | None
    path: Path | None
    config: Mapping[str, Any]


def folder() -> Path | None:
    """The catalogue's folder, or None in an installation that lacks it."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_models", package.parent / "models"):
        if place.is_dir():
            return place
    return None


def entries(place: Path | None = None) -> dict[str, Entry]:
    """All entries by name, in alphabetical order; `place` is another folder than the installed one (tests)."""
    place = place or folder()
    if place is None:
        return {}
    found = (_read(file) for file in sorted(place.glob("*.toml")))
    return {entry.name: entry for entry in found}


def _read(file: Path) -> Entry:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the catalogue entry {file.name} cannot be read: {first_line(error)}") from error
    name = str(values.get("name", file.stem))
    files = file.parent / name
    return Entry(
        name=name,
        family=str(values.get("family", "")),
        description=str(values.get("description", "")),
        licence=str(values.get("licence", "")),
        scope=str(values.get("scope", "")),
        revision=str(values["revision"]) if "revision" in values else None,
        path=files if (files / "config.json").is_file() else None,
        config=config if isinstance(config := values.get("config"), dict) else {},
    )
