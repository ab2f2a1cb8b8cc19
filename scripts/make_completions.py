"""Writes completions/ for bash, zsh, fish and PowerShell, as the app itself generates them.

    python scripts/make_completions.py

tests/cli/test_completions.py fails when a checked-in file is not what this script would write.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "completions"
FILES = {"bash": "vt.bash", "zsh": "_vt", "fish": "vt.fish", "powershell": "vt.ps1"}


def completion_script(shell: str) -> str:
    """What `vt` prints for `_VT_COMPLETE=source_<shell>`, with exactly one newline at its end."""
    environment = os.environ | {"_VT_COMPLETE": f"source_{shell}", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "vtcli"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    return done.stdout.strip() + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (FOLDER / name).write_text(completion_script(shell), encoding="utf-8", newline="\n")
        print(f"completions/{name}")


if __name__ == "__main__":
    main()
