"""The folders of vt's own files, and the defaults a user may set in config.toml.

Order of precedence for `model` and `device`: the flag, then VT_MODEL / VT_DEVICE (read by the command line), then
config.toml. Downloads are never stored in these folders; they stay in the Hugging Face cache.
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
"""Default limit of the prefix store. For a 7B in bfloat16, 16 frames take about 80 MB."""


@dataclass(frozen=True)
class Settings:
    """The keys of config.toml; None for a key that the user did not set.

    `cache` is a size such as "4 GB", `history` "on" or "off".
    """

    model: str | None = None
    device: str | None = None
    cache: str | None = None
    history: str | None = None


def config_file() -> Path:
    """Returns config.toml in VT_HOME, or in the platform's settings folder (~/.config/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home) / "config.toml"
    from platformdirs import user_config_path  # imported here because `vt --help` does not need it

    return user_config_path("vt", appauthor=False) / "config.toml"


def cache_folder() -> Path:
    """Returns the folder of recomputable files: `cache` in VT_HOME, or the platform's (~/.cache/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home) / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("vt", appauthor=False)


def data_folder() -> Path:
    """Returns the folder of data vt made for the user: VT_HOME, or the platform's (~/.local/share/vt on Linux)."""
    if home := os.environ.get("VT_HOME"):
        return Path(home)
    from platformdirs import user_data_path

    return user_data_path("vt", appauthor=False)


def history() -> History | None:
    """Returns the history, or None if config.toml disables it. Raises UsageError for a value other than on or off."""
    from vtcli.history import History

    chosen = load_settings().history or "on"
    if chosen not in ("on", "off"):
        raise UsageError(f'{config_file()}: history is "on" or "off", not {chosen!r}')
    return History(data_folder() / "history.db") if chosen == "on" else None


def prefix_store() -> PrefixStore:
    """Returns the store of video prefixes, limited by config.toml's `cache`. Raises UsageError for an invalid size."""
    from vtcli.engines.prefix import PrefixStore

    return PrefixStore(cache_folder() / "prefixes", _bytes(load_settings().cache or CACHE))


def _bytes(size: str) -> int:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(MB|GB)", size.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f'{config_file()}: cache is a size such as "4 GB", or "0 MB" to keep nothing; not {size!r}')
    return int(float(match[1]) * {"MB": 10**6, "GB": 10**9}[match[2].upper()])


def load_settings() -> Settings:
    """Reads config.toml; a missing file means no defaults.

    Raises UsageError if the file is not TOML, or has an unknown key or a value that is not text: a misspelt key would
    otherwise be ignored silently.
    """
    path = config_file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} cannot be read: {error}") from error
    known = [field.name for field in fields(Settings)]
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: no such setting '{key}' (there are: {', '.join(known)})")
        if not isinstance(value, str):
            raise UsageError(f"{path}: {key} must be text in quotes")
    return Settings(**values)
