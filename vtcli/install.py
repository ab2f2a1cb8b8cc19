"""Detect how vt was installed, to give the exact command that adds a missing extra.

Each installer keeps its own environment, so `pip install` is right for only one of them. The command names the package
as it was first installed (PEP 610 `direct_url.json`): a wheel file or a checkout is not looked up on an index.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vtcli.errors import EngineError

PACKAGE = "vtcli"


def require(what: str, extra: str, *modules: str) -> None:
    """Raises EngineError with the install command unless every one of `modules`, which `what` needs, is installed."""
    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        raise EngineError(f"{what} needs {' and '.join(missing)}: run {install_command(extra)}")


def install_command(extra: str) -> str:
    """Returns the command that adds `extra` ("torch", "gguf", …) to this installation, quoted for the shell."""
    return _quote(_command(extra, Path(sys.prefix), _direct_url()))


def pip_command(*arguments: str) -> str:
    """Returns the `pip` command with `arguments` for the environment of vt, quoted for the shell."""
    return _quote([*_pip(Path(sys.prefix), arguments[0]), *arguments[1:]])


def _command(extra: str, prefix: Path, direct_url: dict[str, object]) -> list[str]:
    # pipx and uv leave a receipt in each environment they manage; its location is the user's choice. Both create the
    # environment anew, so the extras that it has must be named again.
    source = _source(",".join(dict.fromkeys([*_installed_extras(), extra])), direct_url)
    package = _pip_requirement(extra, direct_url)
    if _is_pipx(prefix) and source is not None:
        return ["pipx", "install", "--force", *_suffix(prefix), source]
    if (prefix / "uv-receipt.toml").is_file() and source is not None:
        return ["uv", "tool", "install", "--force", source]
    return [*_pip(prefix, "install"), *package]


def _is_pipx(prefix: Path) -> bool:
    return (prefix / "pipx_metadata.json").is_file()


def _pip(prefix: Path, action: str) -> list[str]:
    if _is_pipx(prefix):
        return ["pipx", "runpip", prefix.name, action]
    if util.find_spec("pip") is None:  # environments created by uv contain no pip
        return ["uv", "pip", action, "--python", sys.executable]
    # A plain `pip` belongs to another environment unless this one is active.
    active = os.environ.get("VIRTUAL_ENV") == str(prefix)
    return [*(["pip"] if active else [sys.executable, "-m", "pip"]), action]


def _suffix(prefix: Path) -> list[str]:
    """Returns `--suffix` for a pipx environment created with a suffix, so that the command changes that environment."""
    suffix = prefix.name.removeprefix(PACKAGE)
    return ["--suffix", suffix] if suffix and suffix != prefix.name else []


def _installed_extras() -> tuple[str, ...]:
    """Returns the extras whose requirements are all installed, without those that another of them includes."""
    needs: dict[str, set[str]] = {}
    with contextlib.suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires(PACKAGE) or ():
            for extra in re.findall(r"""extra == ['"]([\w-]+)['"]""", requirement):
                needs.setdefault(extra, set()).add(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    present = {extra: names for extra, names in needs.items() if all(map(_is_installed, names))}
    return tuple(extra for extra, names in present.items() if not any(names < others for others in present.values()))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _source(extra: str, direct_url: dict[str, object]) -> str | None:
    """Returns `vtcli[extra]`, with its source address unless that was an index; None if the local source is gone."""
    name = f"{PACKAGE}[{extra}]"
    url = direct_url.get("url")
    if not isinstance(url, str):
        return name
    if url.startswith("file:") and not Path(_local(url)).exists():
        return None
    vcs = direct_url.get("vcs_info")
    if isinstance(vcs, dict):
        url = f"{vcs.get('vcs', 'git')}+{url}"
    return f"{name} @ {url}"


def _pip_requirement(extra: str, direct_url: dict[str, object]) -> list[str]:
    info, url = direct_url.get("dir_info"), str(direct_url.get("url", ""))
    if isinstance(info, dict) and info.get("editable"):
        return ["-e", f"{_local(url)}[{extra}]"]
    # pip and uv accept the installed vtcli and add only what the extra requires.
    return [f"{PACKAGE}[{extra}]"]


def _local(url: str) -> str:
    """Returns the path of a `file:` address."""
    return url2pathname(urlsplit(url).path)


def _direct_url() -> dict[str, object]:
    try:
        found = json.loads(metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _quote(command: list[str]) -> str:
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
