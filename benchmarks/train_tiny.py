"""What SFT and GRPO contribute: the embedded model from its plain base, scored on clips that were never trained on.

    python -m vtcli.train.tiny build/tiny/base    # tells what happens in a clip, and was never asked anything
    python benchmarks/train_tiny.py build/tiny/base

Runs SFT once, then GRPO from its result and from the base itself, once per seed. The recipe is
benchmarks/train_tiny.yaml; --set changes its values. On a GPU, where steps are many and large:

    python benchmarks/train_tiny.py build/tiny/base --set attention=sdpa --set grpo.batch=32 --set grpo.per_device=32 \\
        --set grpo.max_steps=600

The same command continues a stopped run. Each checkpoint answers the same clips greedily; the SFT checkpoint and the
last GRPO checkpoint also answer with other numbers of frames.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

RECIPE = Path(__file__).with_name("train_tiny.yaml")
SCORE = Path(__file__).with_name("_train_score.py")
FORMAT_BAR, GAIN_BAR, HIGH_BAR, GRPO_FORMAT_BAR = 0.98, 0.05, 0.95, 0.99

SMOOTH = 5
COLOURS = ["#0969da", "#bf3989", "#1a7f37", "#9a6700"]


def train(base: Path, folder: Path, stage: str, seed: int, changes: Sequence[str]) -> Path:
    """Returns the checkpoint that `stage` leaves in `folder`, trained by the recipe with `changes` made to it."""
    final = folder / stage / "final"
    if (final / "config.json").is_file():
        return final
    settings = ["-m", str(base), "-o", str(folder), "--stage", stage]
    settings += [word for change in (*changes, f"seed={seed}") for word in ("--set", change)]
    subprocess.run([sys.executable, "-m", "vtcli", "train", str(RECIPE), *settings], check=True, stdout=sys.stderr)
    return final


def score(checkpoint: Path, clips: int, frames: int = 16) -> dict[str, float]:
    """Returns accuracy, format and iou of a checkpoint; kept beside it, because scoring takes minutes."""
    file = checkpoint / f"score-{clips}-{frames}.json"
    if not file.is_file():
        command = [sys.executable, str(SCORE), str(checkpoint), str(clips), str(frames)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    scores: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return scores


def curve(folder: Path, name: str, over: int = 1) -> list[tuple[float, float]]:
    """Returns (step, value) of what a stage logged; each value is the mean of the last `over`."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [(row["step"], row[name]) for row in rows if name in row]
    values = [value for _, value in found]
    return [(step, statistics.mean(values[max(0, i + 1 - over) : i + 1])) for i, (step, _) in enumerate(found)]


def draw(file: Path, sft: Path, grpo: list[Path]) -> None:
    """Draws the curves of all runs as one SVG."""
    panels = {
        "SFT: loss": [curve(sft, "loss")],
        f"GRPO: accuracy of completions, mean of {SMOOTH} steps": [
            curve(one, "rewards/accuracy/mean", SMOOTH) for one in grpo
        ],
        f"GRPO: times and captions, mean of {SMOOTH} steps": [
            curve(one, "rewards/captions/mean", SMOOTH) for one in grpo
        ],
        "GRPO: accuracy of greedy replies to held-out questions": [curve(one, "held_out/accuracy") for one in grpo],
    }
    parts = []
    for number, (title, curves) in enumerate(panels.items()):
        x, y = 20 + number % 2 * 400, 20 + number // 2 * 210
        values, last = [v for one in curves for _, v in one], max(step for one in curves for step, _ in one)
        low, spread = min(values), (max(values) - min(values)) or 1
        parts.append(f"<g transform='translate({x},{y})'><text y='10' font-weight='600'>{title}</text>")
        parts.append("<path d='M40 22V160H370' stroke='#9198a1' fill='none'/>")
        for text, at in ((f"{max(values):.3g}", (36, 30)), (f"{low:.3g}", (36, 160)), (f"step {last:.0f}", (370, 176))):
            parts.append(f"<text x='{at[0]}' y='{at[1]}' text-anchor='end'>{text}</text>")
        for one, colour in zip(curves, COLOURS * len(curves), strict=False):
            points = " ".join(f"{40 + s / last * 330:.1f},{160 - (v - low) / spread * 134:.1f}" for s, v in one)
            parts.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        parts.append("</g>")
    style = "text{font:11px system-ui,sans-serif;fill:#57606a}"
    file.write_text(
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 820 440' width='820'><style>{style}</style>"
        "<rect width='820' height='440' fill='#fff'/>" + "".join(parts) + "</svg>\n",
        encoding="utf-8",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, nargs="?", default=Path("build/tiny/base"), help="what to begin with")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--alone", type=int, nargs="*", default=[0], help="seeds of GRPO without SFT")
    parser.add_argument(
        "--frames", type=int, nargs="*", default=[32, 64], help="other numbers of frames to answer with"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/tiny/recipe"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of vt train")
    parser.add_argument("--draw", type=Path, help="an SVG file for the curves")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    base = options.base.resolve()
    if not (base / "config.json").is_file():
        print(f"{options.base} is not there: make it with python -m vtcli.train.tiny {options.base}")
        return 0
    learned = train(base, options.folder / "sft", "sft", 0, options.set)
    rows: dict[str, tuple[Path, int]] = {"base": (base, 16), "SFT": (learned, 16)}
    for seed in options.seeds:
        rows[f"SFT, GRPO, seed {seed}"] = train(learned, options.folder / f"grpo-{seed}", "grpo", seed, options.set), 16
    for seed in options.alone:
        rows[f"GRPO, seed {seed}"] = train(base, options.folder / f"alone-{seed}", "grpo", seed, options.set), 16
    both = [checkpoint for name, (checkpoint, _) in rows.items() if name.startswith("SFT, GRPO")]
    for frames in options.frames:
        rows[f"SFT, {frames} frames"] = learned, frames
        if both:
            rows[f"SFT, GRPO, seed {options.seeds[-1]}, {frames} frames"] = both[-1], frames
    if options.draw:
        draw(options.draw, learned.parent, [path.parent for path in both])
    table = Table("", "accuracy %", "valid format %", "mean IoU", title=f"{options.clips} unseen clips, greedy replies")
    scores = {name: score(checkpoint, options.clips, frames) for name, (checkpoint, frames) in rows.items()}
    for name, found in scores.items():
        table.add_row(name, f"{100 * found['accuracy']:.1f}", f"{100 * found['format']:.1f}", f"{found['iou']:.3f}")
    before, missed = scores["SFT"], int(scores["SFT"]["format"] < FORMAT_BAR)
    for seed in options.seeds:
        after = scores[f"SFT, GRPO, seed {seed}"]
        raised = after["accuracy"] >= min(before["accuracy"] + GAIN_BAR, HIGH_BAR)
        missed += not (raised and after["format"] >= GRPO_FORMAT_BAR and after["iou"] >= before["iou"])
    Console().print(
        table,
        f"bars: SFT format {100 * FORMAT_BAR:.0f} %; GRPO 5 points more or {100 * HIGH_BAR:.0f} %, format "
        f"{100 * GRPO_FORMAT_BAR:.0f} %, IoU not less: {missed or 'none'} missed",
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
