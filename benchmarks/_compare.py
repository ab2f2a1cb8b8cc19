"""Times two commands side by side as whole processes: A B A B …, medians and their ratio."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

VT = str(Path(sys.executable).with_name("vt.exe" if os.name == "nt" else "vt"))


@dataclass(frozen=True)
class Command:
    """One side of a comparison; `environment` is added to this process's own."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


def seconds(command: Command) -> float:
    """Wall time of one run of the whole process; raises CalledProcessError, with its stderr shown, if it fails."""
    environment = {**os.environ, **command.environment}
    # If this is set, an editable install, unlike an installed wheel, is compiled again on every start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    done = subprocess.run(command.arguments, env=environment, capture_output=True)
    elapsed = time.perf_counter() - begin
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        done.check_returncode()
    return elapsed


def compare(title: str, ours: Command, theirs: Command, runs: int, bar: float) -> int:
    """Prints a table of both medians and the ratio; returns 1 if the ratio is above `bar`, otherwise 0."""
    for command in (ours, theirs):
        seconds(command)  # warm: files in the page cache, bytecode written
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
    table = Table("command", "min s", "median s", "max s", title=f"{title} ({runs} alternating runs)")
    for command, times in zip((ours, theirs), zip(*pairs, strict=True), strict=True):
        table.add_row(command.name, *(f"{value:.3f}" for value in (min(times), statistics.median(times), max(times))))
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    Console().print(table, f"ratio of the medians {ratio:.2f}, bar {bar:.2f}: {'met' if ratio <= bar else 'MISSED'}")
    return int(ratio > bar)
