"""docs/cli.md is what the help says today, and the README promises nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.make_cli_docs import COMMANDS, GROUPS, PAGE, page
from vtcli.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_command_is_on_the_page() -> None:
    assert {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    } == set(COMMANDS)
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    assert set(groups) == set(GROUPS)
    for name, parts in GROUPS.items():
        assert tuple(c.name or getattr(c.callback, "__name__", "") for c in groups[name].registered_commands) == parts


def test_the_readme_names_only_what_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for goal in re.findall(r"\bmake ([a-z]+)", text):
        assert re.search(rf"^{goal}:", makefile, re.MULTILINE), goal
    for command in re.findall(r"^(?:\$ )?vt ([a-z]+)", text, re.MULTILINE):
        assert command in (*COMMANDS, *GROUPS), command
