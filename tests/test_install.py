"""Each way of installing leaves its own mark; the marks are made here, the commands were tried by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vtcli import install
from vtcli.errors import EngineError


def command(
    monkeypatch: pytest.MonkeyPatch,
    prefix: Path,
    *,
    mark: str = "",
    direct_url: dict[str, Any] | None = None,
    pip: bool = True,
    active: bool = False,
    extras: tuple[str, ...] = (),
) -> str:
    prefix.mkdir(parents=True, exist_ok=True)
    if mark:
        (prefix / mark).write_text("")
    monkeypatch.setattr(install, "_direct_url", lambda: direct_url or {})
    monkeypatch.setattr(install, "_installed_extras", lambda: extras)
    monkeypatch.setattr(install.util, "find_spec", lambda name: object() if pip else None)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", "/env/bin/python")
    monkeypatch.setenv("VIRTUAL_ENV", str(prefix) if active else "/elsewhere")
    monkeypatch.setattr(install.os, "name", "posix")
    return install.install_command("torch")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "vtcli-0.1.0-py3-none-any.whl"
    file.write_bytes(b"")
    return file


def test_from_an_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipx, uv, venv = tmp_path / "pipx" / "venvs" / "vtcli", tmp_path / "uv" / "tools" / "vtcli", tmp_path / "venv"
    assert command(monkeypatch, pipx, mark="pipx_metadata.json") == "pipx install --force 'vtcli[torch]'"
    assert command(monkeypatch, uv, mark="uv-receipt.toml") == "uv tool install --force 'vtcli[torch]'"
    assert command(monkeypatch, venv) == "/env/bin/python -m pip install 'vtcli[torch]'"
    assert command(monkeypatch, venv, active=True) == "pip install 'vtcli[torch]'"
    assert command(monkeypatch, venv, pip=False) == "uv pip install --python /env/bin/python 'vtcli[torch]'"


def test_a_pipx_environment_with_a_suffix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = command(monkeypatch, tmp_path / "vtcli@next", mark="pipx_metadata.json")
    assert said == "pipx install --force --suffix @next 'vtcli[torch]'"


def test_extras_that_are_there_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pipx and uv make the environment anew; pip adds to it."""
    pipx, uv, venv = tmp_path / "pipx" / "vtcli", tmp_path / "uv" / "vtcli", tmp_path / "venv"
    said = command(monkeypatch, uv, mark="uv-receipt.toml", extras=("gguf", "decord"))
    assert said == "uv tool install --force 'vtcli[gguf,decord,torch]'"
    said = command(monkeypatch, pipx, mark="pipx_metadata.json", extras=("gguf", "torch"))
    assert said == "pipx install --force 'vtcli[gguf,torch]'"
    assert command(monkeypatch, venv, active=True, extras=("gguf",)) == "pip install 'vtcli[torch]'"


def test_extras_that_are_there_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def distribution(name: str, *lines: str) -> None:
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines])
        (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(text + "\n")

    needs = {"torch": ("torch", "jinja2"), "train": ("torch", "jinja2", "trl"), "gguf": ("llama-cpp-python", "jinja2")}
    lines = [
        f"Requires-Dist: {name}<9,>=1; (os_name == 'x') and extra == '{extra}'"
        for extra in needs
        for name in needs[extra]
    ]
    distribution("vtcli", "Requires-Dist: rich>=14", *lines)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert install._installed_extras() == ()
    distribution("torch")
    distribution("jinja2")
    assert install._installed_extras() == ("torch",)
    distribution("llama_cpp_python")
    assert install._installed_extras() == ("torch", "gguf")
    distribution("trl")
    assert install._installed_extras() == ("train", "gguf")  # training needs torch anyway


def test_from_a_wheel_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wheel: Path) -> None:
    url = {"url": wheel.as_uri(), "archive_info": {}}
    pipx, uv = tmp_path / "p" / "vtcli", tmp_path / "u" / "vtcli"
    source = f"'vtcli[torch] @ {wheel.as_uri()}'"
    assert command(monkeypatch, pipx, mark="pipx_metadata.json", direct_url=url) == f"pipx install --force {source}"
    assert command(monkeypatch, uv, mark="uv-receipt.toml", direct_url=url) == f"uv tool install --force {source}"
    assert command(monkeypatch, tmp_path / "v", direct_url=url, active=True) == "pip install 'vtcli[torch]'"
    wheel.unlink()  # what is installed knows its extras: nothing has to be fetched again
    said = command(monkeypatch, pipx, mark="pipx_metadata.json", direct_url=url)
    assert said == "pipx runpip vtcli install 'vtcli[torch]'"
    said = command(monkeypatch, uv, mark="uv-receipt.toml", direct_url=url, pip=False)
    assert said == "uv pip install --python /env/bin/python 'vtcli[torch]'"


def test_from_a_checkout_or_a_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a checkout"
    url = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    assert command(monkeypatch, tmp_path / "v", direct_url=url, active=True) == f"pip install -e '{folder}[torch]'"
    git = {"url": "https://example.org/vtcli.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}
    said = command(monkeypatch, tmp_path / "p" / "vtcli", mark="pipx_metadata.json", direct_url=git)
    assert said == "pipx install --force 'vtcli[torch] @ git+https://example.org/vtcli.git'"


def test_what_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "install_command", lambda extra: f"pip install 'vtcli[{extra}]'")
    install.require("this", "torch", "json")
    with pytest.raises(EngineError) as error:
        install.require("the engine", "torch", "json", "no_such_a", "no_such_b")
    assert str(error.value) == "the engine needs no_such_a and no_such_b: run pip install 'vtcli[torch]'"
