"""Asks a model of the 7B's widths one question, against a plain script with AutoProcessor and generate.

    python benchmarks/ask.py                        # 4 of 28 text layers and 8 of 32 vision blocks, for a CPU
    python benchmarks/ask.py --layers 28 --blocks 32 --frames 16 64       # the whole 7B, for a GPU

Every run is a process of its own; the two alternate, and figures are medians. "first token" counts from the start of
the process, imports and loading included; "tokens a second" from the second token on. Weights are random. Speed does
not depend on them, except through guesses: a random reply may contain more or fewer than a real one. Both run in the
precision that vt chooses for the device.

On a GPU it also prints two more figures: the rate at which the whole text model is read, as a share of the rate at
which memory is copied; and how many greedy tokens agree with those of steps that are neither captured nor compiled,
before rounding separates the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from _clips import RECIPES, make
from _wide import make_checkpoint
from ask_wall import torchvision_folder
from gpu.bandwidth import SEVEN_B, copied
from rich.console import Console
from rich.table import Table

ONCE = Path(__file__).with_name("_ask_once.py")
FIRST_BAR, RATE_BAR = 0.8, 1.0
GPU_RATE_BAR, BANDWIDTH_BAR = 3.0, 0.6
WHOLE = 28
"""Layers of the 7B's text model."""


def once(who: str, folder: Path, clip: Path, frames: int, tokens: int, extra: list[str]) -> dict[str, Any]:
    """Returns the figures of one run and, for vt, the "ids" it drew."""
    arguments = [sys.executable, str(ONCE), who, str(folder), str(clip), str(frames), str(tokens), *extra]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{who} fails: {done.stderr.strip().splitlines()[-1]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--compile", choices=("auto", "on", "off"), default="auto", help="as of vt ask")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where clip and weights are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clip = make(RECIPES[0], options.folder).path
    model = make_checkpoint(options.folder / f"wide-{options.layers}-{options.blocks}", options.layers, options.blocks)
    console, missed = Console(), 0
    gpu = torch.cuda.is_available()
    rate_bar = GPU_RATE_BAR if gpu else RATE_BAR
    most = copied() / SEVEN_B if gpu and options.layers == WHOLE else None
    with tempfile.TemporaryDirectory() as folder:
        extra = torchvision_folder(Path(folder))
        for frames in options.frames:
            title = (
                f"{options.layers} layers, {options.blocks} blocks, {frames} frames, {options.runs} alternating runs"
            )
            table = Table("", "prompt tokens", "first token s", "tokens a second", "tokens", title=title)
            found: dict[str, list[dict[str, Any]]] = {"vt": [], "plain": []}
            for _ in range(options.runs):
                found["vt"].append(once("vt", model, clip, frames, options.tokens, [options.compile]))
                found["plain"].append(once("plain", model, clip, frames, options.tokens, extra))
            drawn = [run.pop("ids") for run in found["vt"]]
            middle = {
                who: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                for who, runs in found.items()
            }
            for who, of in middle.items():
                row = (f"{of['prompt']:.0f}", f"{of['first']:.2f}", f"{of['rate']:.2f}", f"{of['tokens']:.0f}")
                table.add_row("vt" if who == "vt" else "AutoProcessor + generate", *row)
            first = middle["vt"]["first"] / middle["plain"]["first"]
            rate = middle["vt"]["rate"] / middle["plain"]["rate"]
            missed += (first > FIRST_BAR) + (rate < rate_bar)
            console.print(
                table, f"first token {first:.2f} (bar {FIRST_BAR}), tokens a second {rate:.2f} (bar {rate_bar})"
            )
            if most is not None:
                share = middle["vt"]["rate"] / most
                missed += share < BANDWIDTH_BAR
                console.print(f"{share:.2f} of the memory's {most:.0f} tokens a second (bar {BANDWIDTH_BAR})")
            if gpu:
                eager = once("vt", model, clip, frames, options.tokens, ["off"])["ids"]
                same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(drawn[0], eager, strict=False))))
                console.print(f"the first {same} of {len(eager)} tokens are those of --compile off")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
