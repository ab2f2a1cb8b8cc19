"""`vt --help` against the `--help` of a Typer app with nothing in it: what vt's own start-up adds.

python benchmarks/help_startup.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _compare import VT, Command, compare

EMPTY_APP = """\
import typer
app = typer.Typer()
@app.command()
def main() -> None: ...
app()
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_APP)
        return compare(
            "vt --help",
            Command("vt --help", [VT, "--help"], {}),
            Command("empty Typer app --help", [sys.executable, str(script), "--help"], {}),
            runs=15,
            bar=1.5,
        )


if __name__ == "__main__":
    sys.exit(main())
