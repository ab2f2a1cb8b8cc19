"""What pressing TAB costs: the modules that `vt` loads to complete a word, and the time it takes.

python benchmarks/completion_imports.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

HEAVY = ("torch", "transformers", "av", "numpy", "PIL", "huggingface_hub")
WORDS = ("vt ", "vt ask ", "vt ask clip.mp4 --", "vt ask clip.mp4 why --device ")


def complete(words: str) -> tuple[float, set[str], list[str]]:
    """Returns the seconds, the heavy modules imported and the completions for the bash line `words`."""
    environment = os.environ | {
        "_VT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-X", "importtime", "-m", "vtcli"]
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - begin
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    return elapsed, loaded & set(HEAVY), done.stdout.split()


def main() -> int:
    table = Table("line", "seconds (importtime on)", "completions", "heavy imports", title="TAB completion")
    failed = False
    for words in WORDS:
        elapsed, heavy, found = complete(words)
        failed |= bool(heavy)
        table.add_row(repr(words), f"{elapsed:.3f}", str(len(found)), ", ".join(sorted(heavy)) or "none")
    Console().print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
