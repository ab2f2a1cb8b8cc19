"""One case of train.py: trains some steps and prints what was logged as a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vtcli.train import plan
from vtcli.train import stage as stage_module
from vtcli.train.job import Job
from vtcli.train.journal import Journal
from vtcli.train.recipe_file import load_recipe
from vtcli.train.run import run
from vtcli.train.trainer import VideoTrainer

CLIPS = 24


class _DoneError(Exception):
    """The stage's steps are done."""


def _done(*_: Any) -> None:
    raise _DoneError


def main() -> None:
    import torch

    model, case, folder, *changes = sys.argv[1:]
    stage = "sft" if case.startswith("sft") else "grpo"
    recipe = load_recipe(
        "tiny", [f"model={model}", f"data.shapes={CLIPS}", "sft.epochs=100", "grpo.epochs=100", *changes]
    )
    settings = recipe.stage(stage)
    changed = dataclasses.replace(settings, evaluate_every=10**9)
    recipe = dataclasses.replace(recipe, **{stage: changed})
    # Checkpoints and the model would take 130 GB, and nothing reads them.
    plan.check_disk = lambda *_: None
    VideoTrainer._save_checkpoint = lambda *_: None  # type: ignore[method-assign]
    stage_module._finish = _done
    if case == "grpo by generate":
        from _generate import generate

        from vtcli.train import grpo

        grpo.roll_out = generate
    with suppress(_DoneError):
        run(Job(recipe, Path(folder), (stage,)))
    from vtcli.models.checkpoint import open_checkpoint
    from vtcli.train.plan import trained_parameters

    checkpoint = open_checkpoint(model)
    count = checkpoint.weights.parameters
    rows = [row for row in Journal(Path(folder) / stage / "log.jsonl").rows() if "seconds" in row]
    gpu = torch.cuda.is_available()
    print(
        json.dumps(
            {
                "log": rows,
                "memory": max((row.get("gpu_memory", 0) for row in rows), default=0),
                "device": torch.cuda.get_device_name() if gpu else "cpu",
                "parameters": count,
                "trained": trained_parameters(checkpoint, recipe),
            }
        )
    )


if __name__ == "__main__":
    main()
