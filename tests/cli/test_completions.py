"""completions/ is what the app generates today, and bash completes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.make_completions import FILES, FOLDER, completion_script


@pytest.mark.parametrize("shell", FILES)
def test_the_checked_in_file_is_current(shell: str) -> None:
    assert (FOLDER / FILES[shell]).read_text(encoding="utf-8") == completion_script(shell), "run `make completions`"


def test_nothing_else_is_in_the_folder() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(FILES.values())


@pytest.mark.skipif(shutil.which("bash") is None or os.name == "nt", reason="needs bash")
def test_bash_completes_flags(tmp_path: Path) -> None:
    vt = tmp_path / "vt"
    vt.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vtcli "$@"\n')
    vt.chmod(0o755)
    line = (
        f'. "{FOLDER / "vt.bash"}"; COMP_WORDS=(vt ask --fr); COMP_CWORD=2; _vt_completion vt; echo "${{COMPREPLY[@]}}"'
    )
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(FOLDER.parent)
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--frames"]
