"""Where vt keeps its own files, and the defaults a user may set in config.toml.

Order of precedence for `model` and `device`: the flag, then VT_MODEL / VT_DEVICE (read by the command
line), then config.toml. What is downloaded never lives here: it stays in the Hugging Face cache.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from vtcli.errors import UsageError

if TYPE_CHECKING:
    from vtcli.engines.prefix import PrefixStore
    from vtcli.history import History

CACHE = "4 GB"
"""Of a 7B in bfloat16, 16 frames take about 80 MB."""


@dataclass(frozen=True)
class Settings:
    """The keys config.toml may hold; None where the user set nothing.

    `cache` is a size such as "4 GB", `history` "on" or "off".
    """

    model: str | None = None
    device: str | None = None
    cache: str | None = None
    history: str | None = None


def config_file() -> Path:
    """config.toml in VT_HOME, or in the platform's folder for settings (~/.config/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home) / "config.toml"
    from platformdirs import user_config_path  # here: `vt --help` has no use for it

    return user_config_path("vt", appauthor=False) / "config.toml"


def cache_folder() -> Path:
    """Where what can be computed again is kept: `cache` in VT_HOME, or the platform's folder (~/.cache/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home) / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("vt", appauthor=False)


def data_folder() -> Path:
    """Where what vt made for the user is kept: VT_HOME, or the platform's folder (~/.local/share/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home)
    from platformdirs import user_data_path

    return user_data_path("vt", appauthor=False)


def history() -> History | None:
    """The history, None where config.toml switches it off. Raises UsageError for another setting than on and off."""
    from vtcli.history import History

    chosen = load_settings().history or "on"
    if chosen not in ("on", "off"):
        raise UsageError(f'{config_file()}: history is "on" or "off", not {chosen!r}')
    return History(data_folder() / "history.db") if chosen == "on" else None


def prefix_store() -> PrefixStore:
    """Where video prefixes are kept, of the size that config.toml allows. Raises UsageError for one that is none."""
    from vtcli.engines.prefix import PrefixStore

    return PrefixStore(cache_folder() / "prefixes", _bytes(load_settings().cache or CACHE))


def _bytes(size: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MB|GB)", size.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f'{config_file()}: cache is a size such as "4 GB", or "0 MB" to keep nothing; not {size!r}')
    return int(float(match[1]) * {"MB": 10**6, "GB": 10**9}[match[2].upper()])


def load_settings() -> Settings:
    """Reads config.toml; a missing file means no defaults.

    Raises UsageError where the file is not TOML, has an unknown key or a value that is not text: a
    misspelt key would otherwise be ignored without a word.
    """
    path = config_file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} cannot be read: {error}") from error
    known = [field.name for field in fields(Settings)]
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: no such setting '{key}' (there are: {', '.join(known)})")
        if not isinstance(value, str):
            raise UsageError(f"{path}: {key} must be text in quotes")
    return Settings(**values)
