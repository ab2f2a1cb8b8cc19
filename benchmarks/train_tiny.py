"""What SFT and GRPO bring: the embedded model from its plain base, scored on clips nothing was trained on.

    python -m vtcli.train.tiny build/tiny/base --to see    # the base: weights that see, and were never asked anything
    python benchmarks/train_tiny.py build/tiny/base

SFT once, then GRPO from it and from the base itself, once a seed, by benchmarks/train_tiny.yaml. A run that was stopped
goes on with the same command. Each checkpoint answers the same clips greedily; the SFT and the last GRPO checkpoint
also with other numbers of frames.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

RECIPE = Path(__file__).with_name("train_tiny.yaml")
SCORE = Path(__file__).with_name("_train_score.py")
FORMAT_BAR, GAIN_BAR, HIGH_BAR, GRPO_FORMAT_BAR = 0.98, 0.05, 0.95, 0.99


def train(base: Path, folder: Path, stage: str, seed: int) -> Path:
    """The checkpoint that `stage` leaves in `folder`."""
    settings = ["-m", str(base), "-o", str(folder), "--stage", stage, "--set", f"seed={seed}"]
    subprocess.run([sys.executable, "-m", "vtcli", "train", str(RECIPE), *settings], check=True, stdout=sys.stderr)
    return folder / stage / "final"


def score(checkpoint: Path, clips: int, frames: int = 16) -> dict[str, float]:
    """accuracy, format and iou of a checkpoint; kept beside it, as it takes minutes."""
    file = checkpoint / f"score-{clips}-{frames}.json"
    if not file.is_file():
        command = [sys.executable, str(SCORE), str(checkpoint), str(clips), str(frames)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    scores: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the checkpoint to begin with")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--alone", type=int, nargs="*", default=[0], help="seeds of GRPO without SFT")
    parser.add_argument(
        "--frames", type=int, nargs="*", default=[32, 64], help="other numbers of frames to answer with"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/tiny/recipe"))
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    base = options.base.resolve()
    learned = train(base, options.folder / "sft", "sft", 0)
    rows: dict[str, tuple[Path, int]] = {"base": (base, 16), "SFT": (learned, 16)}
    for seed in options.seeds:
        rows[f"SFT, GRPO, seed {seed}"] = train(learned, options.folder / f"grpo-{seed}", "grpo", seed), 16
    for seed in options.alone:
        rows[f"GRPO, seed {seed}"] = train(base, options.folder / f"alone-{seed}", "grpo", seed), 16
    both = [checkpoint for name, (checkpoint, _) in rows.items() if name.startswith("SFT, GRPO")]
    for frames in options.frames:
        rows[f"SFT, {frames} frames"] = learned, frames
        if both:
            rows[f"SFT, GRPO, seed {options.seeds[-1]}, {frames} frames"] = both[-1], frames
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
