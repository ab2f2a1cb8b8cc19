"""The command as a whole: help, versions, exit codes, and what start-up may import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import vtcli.cli.main
from tests.cli.conftest import Run
from vtcli import __version__
from vtcli.__main__ import run as run_vt
from vtcli.cli.options import parse_time

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "tokenizers", "av", "numpy", "PIL", "huggingface_hub"}


def imported_by(*arguments: str, **environment: str) -> tuple[set[str], str]:
    """Top-level packages a process of `vt` imports, and its stdout."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vtcli", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}, done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("ask", "--help"), ("demo", "--help"), ()])
def test_start_up_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    imported, out = imported_by(*arguments)
    assert "typer" in imported
    assert not imported & HEAVY
    assert out.strip()


def test_completion_imports_nothing_heavy() -> None:
    imported, out = imported_by(_VT_COMPLETE="complete_bash", COMP_WORDS="vt ask clip.mp4 --", COMP_CWORD="3")
    assert not imported & HEAVY
    assert {"--model", "--frames", "--json"} <= set(out.split())


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out.strip()) == (0, f"vt {__version__}")


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    done = run()
    assert done.code == 0
    assert "ask" in done.out


@pytest.mark.parametrize("arguments", [("bogus",), ("--bogus",), ("ask",), ("ask", "v", "q", "--frames")])
def test_wrong_usage_is_one_line_and_exit_2(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("vt: error: ")
    assert "--help)" in done.err


def test_a_bug_is_one_line_unless_debugging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def broken(debug: bool = False) -> None:
        raise RuntimeError("first\nsecond \x1b[31m")

    monkeypatch.setattr(vtcli.cli.main, "app", app)
    done = run()
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("vt: error: internal: RuntimeError: first second")
    assert "\x1b" not in done.err
    assert "--debug" in done.err
    assert "Traceback" in run("--debug").err


def test_interrupting_is_exit_130(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def slow() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vtcli.cli.main, "app", app)
    assert run_vt([]) == 130
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7.5", 7.5), (".5", 0.5), ("90", 90), ("1:05", 65), ("75:00", 4500), ("1:02:03.25", 3723.25)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:75:00", "1:2:3:4", "nan", "1e3", "1m", "٣"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="SS"):
        parse_time(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("model = 3", "text in quotes"),
        ("modle = 'x'", "no such setting"),
        ("model = ", "cannot be read"),
        ("model = " + "[" * 5000, "cannot be read"),
    ],
)
def test_a_broken_config_file_is_named(run: Run, vt_home: Path, content: str, says: str) -> None:
    vt_home.mkdir()
    (vt_home / "config.toml").write_text(content, encoding="utf-8")
    done = run("ask", "clip.mp4", "why?")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "config.toml" in done.err
    assert says in done.err
