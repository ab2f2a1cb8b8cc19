"""How far from the truth the time is that `vt train` predicts: for `tiny`, and for the 7B's widths with two layers.

    python benchmarks/train_time.py

The second model has random weights, kept in bfloat16, and adapters: 16 GB of memory hold it. Only steps are timed: no
records are held out. The plan assumes completions as long as they turned out to be; random weights use all the tokens
they may.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from vtcli.train.job import Job
from vtcli.train.journal import Journal
from vtcli.train.recipe import StageName
from vtcli.train.recipe_file import load_recipe
from vtcli.train.run import run

COMMON = ("data.shapes=24", "data.held_out=0", "sft.epochs=100", "sft.log_every=1", "grpo.log_every=1")
WIDE = (
    "weights=bfloat16", "compute=bfloat16", "lora.rank=16", "train_vision=false",
    "data.max_prompt_tokens=16384", "sft.max_tokens=16384", "sft.batch=1", "sft.per_device=1", "grpo.batch=1",
    "grpo.per_device=1", "grpo.group=4", "grpo.max_tokens=32",
)  # fmt: skip


def case(model: str, stage: StageName, changes: tuple[str, ...], count: int, folder: Path) -> tuple[float, float]:
    """Returns the seconds predicted for `count` steps, and the seconds taken."""
    from vtcli.models.checkpoint import open_checkpoint
    from vtcli.train import duration, pace, plan

    settings = [f"{stage}.max_steps={count}", f"{stage}.evaluate_every=100000", f"{stage}.save_every=100000"]
    recipe = load_recipe("tiny", [f"model={model}", *COMMON, *changes, *settings])
    keeper = _Keeper()
    report = run(Job(recipe, folder, (stage,)), keeper)
    rows = [row for row in Journal(folder / stage / "log.jsonl").rows() if "seconds" in row]
    told = report["stages"][stage]["planned"]
    seen = pace.Pace(**told["pace"])
    lengths = [row["completions/mean_length"] for row in rows if "completions/mean_length" in row]
    reply = round(sum(lengths) / len(lengths)) if lengths else 1
    checkpoint = open_checkpoint(model)
    sizes = keeper.sizes
    found = duration.estimate(checkpoint, recipe, stage, count, sizes, (), plan.devices(), seen, reply)
    return found["total"], rows[-1]["seconds"]


class _Keeper:
    """Keeps the record sizes of a run; prints nothing."""

    def checked(self, checked: Any) -> None:
        self.sizes = checked.train_sizes

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=("tiny", "wide"))
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where weights and clips are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["VT_HOME"] = str(options.folder.absolute() / "home")
    print("| model | stage | estimated s | measured s | estimated / measured |\n|---|---|---|---|---|")
    for name in (options.only,) if options.only else ("tiny", "wide"):
        model, changes = "tiny", ()
        if name == "wide":
            from _wide import make_checkpoint

            model, changes = str(make_checkpoint(options.folder / "wide-2-2", 2, 2)), WIDE
        stages: tuple[StageName, ...] = ("sft", "grpo")
        for stage in stages:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                told, taken = case(model, stage, changes, options.steps, Path(folder))
            print(f"| {name} | {stage} | {told:.1f} | {taken:.1f} | {told / taken:.2f} |", flush=True)


if __name__ == "__main__":
    main()
