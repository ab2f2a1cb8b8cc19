"""Asks a GGUF model one question and a second one, against llama.cpp's own multimodal program.

    python benchmarks/ask_gguf.py --cli PATH/llama-mtmd-cli      # built from the source in llama-cpp-python's release
    python benchmarks/ask_gguf.py --layers 4 --blocks 8 --quant Q8_0 --frames 16       # if it is on PATH

The model is as wide as the 7B, with random weights and fewer layers. Both programs run as whole processes that answer
the same question with the same number of tokens from the same files and the same frames: vt reads them from the clip,
llama.cpp's program receives them as pictures of the model's size. The first question runs without vt's cache. The
second one, about the same clip, runs with it, in a new process. Runs alternate; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _clips import RECIPES, make
from _compare import VT, Command, seconds
from _wide import make_checkpoint
from rich.console import Console
from rich.table import Table

from vtcli.cores import cores
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.export import export
from vtcli.prompt import build_prompt

QUESTIONS = ("What happens in this video, and why?", "Who is seen first?")
FIRST_BAR, SECOND_BAR = 1.0, 0.1


def main() -> int:
    options = _options()
    if options.cli is None:
        print("left out: llama-mtmd-cli is not on PATH; name it with --cli")
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    clip = make(RECIPES[0], options.folder).path
    wide = make_checkpoint(options.folder / f"wide-{options.layers}-{options.blocks}", options.layers, options.blocks)
    model = options.folder / "gguf" / f"{wide.name}-{options.quant}.gguf"
    if not model.exists():
        export(open_checkpoint(wide), model.parent, options.quant)
    projector = open_checkpoint(model).projector
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        vt = [VT, "ask", str(clip), "-m", str(model), "--temperature", "0", "--max-tokens", str(options.tokens), "-q"]
        vt += ["--frames", str(options.frames)]
        frames = Path(folder) / "frames"
        subprocess.run(
            [VT, "frames", str(clip), "-o", str(frames), "--frames", str(options.frames), "--no-sheet"],
            check=True,
            capture_output=True,
        )
        pictures = [word for file in sorted(frames.glob("*.png")) for word in ("--image", str(file))]
        prompt = build_prompt(QUESTIONS[0], ())
        theirs = [options.cli, "-m", str(model), "--mmproj", str(projector), *pictures]
        theirs += ["-p", prompt.user, "-sys", prompt.system, "-n", str(options.tokens), "--temp", "0"]
        theirs += ["-t", str(cores()), "-c", "8192", "--image-min-tokens", "1", "--no-warmup", "--jinja"]
        home = {"VT_HOME": folder, "OMP_WAIT_POLICY": "passive"}
        first = Command("vt, first question", [*vt, QUESTIONS[0], "--no-cache"], home)
        peer = Command("llama-mtmd-cli", theirs, {"OMP_WAIT_POLICY": "passive"})
        second = Command("vt, second question", [*vt, QUESTIONS[1]], home)
        for command in (Command("keep", [*vt, QUESTIONS[0]], home), peer):  # warms up, and fills the cache
            seconds(command)
        found: dict[str, list[float]] = {command.name: [] for command in (first, peer, second)}
        for _ in range(options.runs):
            for command in (first, peer, second):
                found[command.name].append(seconds(command))
    title = (
        f"{options.layers} layers, {options.blocks} blocks, {options.quant}, {options.frames} frames, "
        f"{options.tokens} tokens, {options.runs} alternating runs"
    )
    table = Table("process", "median s", "min s", "max s", title=title)
    for name, times in found.items():
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(times), min(times), max(times))))
    ours, their, again = (statistics.median(times) for times in found.values())
    console.print(
        table,
        f"first question {ours / their:.2f} of llama.cpp's program (bar {FIRST_BAR}), "
        f"second {again / ours:.2f} of the first (bar {SECOND_BAR})",
    )
    return int(ours > FIRST_BAR * their or again > SECOND_BAR * ours)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", default=shutil.which("llama-mtmd-cli"), help="llama.cpp's llama-mtmd-cli")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--quant", default="Q8_0")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where clip and models are kept")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(main())
