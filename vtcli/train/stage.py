"""Runs one stage, from its last checkpoint if there is one, to a whole model."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vtcli.engines.loading import memory_errors
from vtcli.errors import TrainError
from vtcli.models.checkpoint import OWN_FILE, Checkpoint
from vtcli.train import checkpoints
from vtcli.train.check import Checked
from vtcli.train.duration import longest_reply
from vtcli.train.encode import Encoder
from vtcli.train.evaluate import held_out_scores
from vtcli.train.grpo import forbidden, grpo_trainer
from vtcli.train.job import Follower, Job
from vtcli.train.journal import Journal
from vtcli.train.model import load_for_training, save_merged, store_as
from vtcli.train.processes import agreed
from vtcli.train.prompts import asked_in
from vtcli.train.recipe import StageName
from vtcli.train.rollout import Drawing
from vtcli.train.sft import sft_trainer
from vtcli.train.trainer import Context


def train_stage(
    name: StageName,
    job: Job,
    base: Checkpoint,
    encoder: Encoder,
    checked: Checked,
    state: Any,
    follower: Follower | None,
) -> Path:
    """Trains one stage to its end, from its last checkpoint if there is one; returns the folder of its model."""
    folder, stage = job.folder(name), job.recipe.stage(name)
    final = job.model(name)
    done, kept = agreed(state, (job.is_done(name), checkpoints.complete(folder)))  # a shared folder may lag behind
    if done:
        if follower:
            follower.finished(name, final)
        return final
    if state.is_main_process:  # left by a crash
        shutil.rmtree(folder / checkpoints.ASIDE, ignore_errors=True)
    if follower:
        follower.begins(name, checkpoints.step_of(kept[-1]) if kept else 0)
    model = load_for_training(base, job.recipe)
    make = sft_trainer if name == "sft" else grpo_trainer
    trainer: Any = make(model, job.recipe, checked.train, encoder, str(folder), state.num_processes)
    longest = longest_reply(job.recipe)
    greedy = Drawing(longest, base.eos_token_ids, forbidden(encoder), temperature=0)
    held_out = checked.held_out

    def evaluate(trainer: Any) -> dict[str, float]:
        tell = (lambda done, total: follower.evaluating(name, done, total)) if follower else None
        return held_out_scores(trainer, encoder, held_out, greedy, tell)

    trainer.follow(
        Context(name, folder, base, stage, Journal(folder / "log.jsonl"), follower, evaluate if held_out else None)
    )
    with _faults(name):
        trainer.train(resume_from_checkpoint=str(kept[-1]) if kept else None)
    _finish(trainer, base, job, folder, final, state)
    del trainer, model
    gc.collect()
    if follower:
        follower.finished(name, final)
    return final


def _finish(trainer: Any, base: Checkpoint, job: Job, folder: Path, final: Path, state: Any) -> None:
    """Writes the whole model aside, then renames it."""
    aside = folder / "final.part"
    if state.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
    state.wait_for_everyone()
    trainer.save_model(str(aside))
    state.wait_for_everyone()
    if state.is_main_process:
        if job.recipe.lora is not None:
            from peft import PeftModel

            whole = PeftModel.from_pretrained(load_for_training(base, job.recipe), str(aside))
            save_merged(whole, base.path, folder / "merged.part")
            shutil.rmtree(aside)
            (folder / "merged.part").rename(aside)
        store_as(aside, base)
        told = {"prompt": asked_in(job.recipe.prompt), "scope": base.scope}
        (aside / OWN_FILE).write_text(json.dumps(told) + "\n", encoding="utf-8")
        for file in aside.glob("*.safetensors"):  # safetensors makes them readable by their owner only
            shutil.copymode(aside / OWN_FILE, file)
        aside.rename(final)
    state.wait_for_everyone()


@contextmanager
def _faults(name: StageName) -> Iterator[None]:
    """Turns the libraries' errors into one line, if memory ran out or a data loader process was ended."""
    remedy = f"--set {name}.per_device=1, fewer frames or tokens, or more devices; start again to go on"
    try:
        with memory_errors("cuda" if torch.cuda.is_available() else "cpu", lambda: remedy):
            yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainError(f"{name}: a process that reads videos was ended from outside; start again to go on") from error
