"""`vt models` with 50 repositories in the cache, against an empty Typer app; `vt pull` against `hf download`.

    python benchmarks/models.py [--runs 5] [--layers 4 --blocks 8 --folder build/bench]

The model that is pulled is as wide as the 7B, with random weights. Both programs fetch it from the same server on
loopback into an empty cache; `vt` also checks its hashes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from _compare import VT, Command, seconds
from _wide import make_checkpoint
from help_startup import EMPTY_APP
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.hub import serve
from vtcli.models.checkpoint import open_checkpoint

REPOSITORIES = 50
LIST_BAR, PULL_BAR = 0.3, 0.9  # seconds more than the empty app; share of hf download's speed


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        missed = _list(Path(folder), options.runs)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        wide = make_checkpoint(
            options.folder / f"wide-{options.layers}-{options.blocks}", options.layers, options.blocks
        )
        return _pull(Path(folder), wide, options.runs) or missed


def _list(folder: Path, runs: int) -> int:
    script = folder / "empty.py"
    script.write_text(EMPTY_APP)
    tiny = open_checkpoint("tiny").path
    for number in range(REPOSITORIES):
        snapshot = folder / "hf" / "hub" / f"models--owner--repo{number}" / "snapshots" / f"{number:040}"
        shutil.copytree(tiny, snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
    home = {"HF_HOME": str(folder / "hf"), "VT_HOME": str(folder / "vt")}
    ours = Command(f"vt models, {REPOSITORIES} repositories", [VT, "models"], home)
    theirs = Command("empty Typer app", [sys.executable, str(script)], {})
    found = _alternate(ours, theirs, 3 * runs)
    more = found[0] - found[1]
    print(f"{more:.2f} s more than the empty app (bar {LIST_BAR}): {'met' if more <= LIST_BAR else 'MISSED'}")
    return int(more > LIST_BAR)


def _pull(folder: Path, model: Path, runs: int) -> int:
    with serve() as hub:
        hub.add("owner/Wide", model)
        for file in model.iterdir():
            hub.etag(file)  # so that no run waits for the server's hashing
        size = sum(file.stat().st_size for file in model.iterdir())
        cache = folder / "hf"
        home = {"HF_HOME": str(cache), "VT_HOME": str(folder / "vt"), "HF_ENDPOINT": hub.url}
        ours = Command("vt pull", [VT, "pull", "owner/Wide", "-q"], home)
        theirs = Command("hf download", [str(Path(VT).with_name("hf")), "download", "owner/Wide", "--quiet"], home)
        pull, download = _alternate(ours, theirs, runs, lambda: shutil.rmtree(cache, ignore_errors=True))
    speed = download / pull
    print(f"{size / 1e9:.1f} GB; vt pull has {speed:.2f} of hf download's speed (bar {PULL_BAR})")
    return int(speed < PULL_BAR)


def _alternate(ours: Command, theirs: Command, runs: int, before: object = None) -> tuple[float, float]:
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for _ in range(runs):
        for command in (ours, theirs):
            if callable(before):
                before()
            times[command.name].append(seconds(command))
    table = Table("command", "min s", "median s", "max s", title=f"{runs} alternating runs")
    for name, values in times.items():
        table.add_row(name, *(f"{value:.3f}" for value in (min(values), statistics.median(values), max(values))))
    Console().print(table)
    return statistics.median(times[ours.name]), statistics.median(times[theirs.name])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where models are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    sys.exit(main())
