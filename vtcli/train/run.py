"""Runs everything: check, plan, SFT, GRPO, report. The same command resumes a run; finished work is not repeated.

    run(Job(load_recipe("tiny"), Path("my-run")))

A run's folder holds run.json (what the run is), problems.jsonl (records left out), one folder per stage with its
log.jsonl, checkpoints and `final` (a whole checkpoint, for `vt ask -m`), and report.html and report.json.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from vtcli.disk import write_whole
from vtcli.errors import UsageError
from vtcli.install import require
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.train import duration, pace, plan
from vtcli.train.alone import alone_in
from vtcli.train.check import Checked
from vtcli.train.identity import begin_run, records_fingerprint, run_file
from vtcli.train.job import Follower, Job
from vtcli.train.prepare import prepare
from vtcli.train.processes import check_same, check_shared, join
from vtcli.train.recipe import Recipe, StageName
from vtcli.train.settings import check_stage


def run(job: Job, follower: Follower | None = None) -> dict[str, Any]:
    """Runs `job` and returns its report (docs/schema/train.schema.json).

    Raises UsageError (recipe), DataError (records), ModelError (base), TrainError (memory, disk, a run that fails).
    """
    require(
        "vt train", "train", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml", "safetensors"
    )
    stages = _stages(job)
    grpo = job.recipe.grpo
    if grpo is not None and "grpo" in stages and grpo.rollouts == "vllm":
        require("grpo.rollouts=vllm", "vllm", "vllm")
    if job.recipe.liger:
        if not _has_gpu():
            raise UsageError("liger: its kernels are Triton's and need a GPU; --set liger=false trains without")
        require("liger", "liger", "liger_kernel")
    base = open_checkpoint(job.recipe.model)
    if base.is_gguf:
        raise UsageError(f"{job.recipe.model} is a GGUF file: training starts from a checkpoint folder")
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        _check_launch()
        state = join(job.recipe.compute)
        for name in stages:
            check_stage(job.recipe.stage(name), state.num_processes)
        if not state.is_main_process:
            follower = None
        elif not job.dry_run:
            stack.enter_context(alone_in(job.out))
        with state.main_process_first():  # the others find the frames it cached
            encoder, checked, commits = prepare(job, base, stages, state.is_main_process, follower)
        records = records_fingerprint(checked)
        check_same(state, records, "records")
        on = plan.devices()
        if on.sharded:
            _check_alike(job.recipe, stages, checked)
        planned = _plan(job, base, checked, on, [name for name in stages if not job.is_done(name)], follower)
        if not job.dry_run:
            begun = begin_run(job, base, records, commits, state.is_main_process)
            if state.is_main_process:
                _write_plans(planned, job)
            state.wait_for_everyone()
            check_shared(state, run_file(job.out))
            if "sft" not in stages and job.is_done("sft"):  # `--stage grpo` after `--stage sft`
                base = encoder.checkpoint = open_checkpoint(job.model("sft"))
            from vtcli.train.stage import train_stage

            for name in stages:
                model = train_stage(name, job, base, encoder, checked, state, follower)
                base = open_checkpoint(model)
                encoder.checkpoint = base
        else:
            begun = {}
    from vtcli.train.report import make_report, write_report

    report = make_report(job, stages, checked, commits, begun, planned)
    if state.is_main_process and not job.dry_run:
        write_report(report, job.out)
    return report


def _stages(job: Job) -> tuple[StageName, ...]:
    there = job.recipe.stages
    for name in job.stages:
        if name not in there:
            raise UsageError(f"--stage {name}: the recipe has {' and '.join(there)}")
    return tuple(name for name in there if not job.stages or name in job.stages)


def _check_alike(recipe: Recipe, stages: Sequence[StageName], checked: Checked) -> None:
    """Raises UsageError if one process could call the vision tower more often than another.

    With sharded weights each process waits for the others at every layer.
    """
    if not all(record.shown for record in checked.train):
        raise UsageError("records without a video or picture need ddp or zero2: fsdp2 and zero3 wait for all")
    mixed = len({bool(record.pictures) for record in checked.train}) > 1
    for name in stages if mixed else ():
        if recipe.stage(name).per_device > 1:
            raise UsageError(f"videos and pictures together need --set {name}.per_device=1 with fsdp2 and zero3")


def _plan(
    job: Job,
    base: Checkpoint,
    checked: Checked,
    on: plan.Devices,
    stages: Sequence[StageName],
    follower: Follower | None,
) -> dict[StageName, duration.Planned]:
    """Plans the memory, disk space and time of each stage. Raises TrainError if a stage does not fit."""
    if not stages:
        return {}
    recipe = job.recipe
    longest = {"sft": checked.whole, "grpo": checked.tokens}
    memory = {name: plan.check_memory(base, recipe, name, longest[name], on) for name in stages}
    plan.check_disk(base, recipe, list(stages), job.out, on)
    seen = pace.measure(on, base, recipe, stages, checked.train_sizes)
    found = {}
    for name in stages:
        found[name] = duration.planned(base, recipe, name, checked, memory[name], on, seen[name])
        if follower:
            follower.planned(name, found[name], on)
    if follower and plan.rounds_away(recipe, on):
        follower.warned(
            "weights=bfloat16: most updates are smaller than what it can tell apart, and are lost; --set lora.rank=64 "
            "trains adapters in float32, --print-launch fsdp2 keeps weights in float32 over several GPUs"
        )
    return found


def _write_plans(planned: Mapping[StageName, duration.Planned], job: Job) -> None:
    """Writes each stage's plan; a first plan stays, for comparison with what the stage took."""
    for name, each in planned.items():
        file = job.folder(name) / "plan.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(each), indent=1))


def _check_launch() -> None:
    """Raises UsageError if one process sees several GPUs, which the trainers cannot use."""
    import torch

    count = torch.cuda.device_count()
    if count > 1 and "WORLD_SIZE" not in os.environ:
        raise UsageError(
            f"{count} GPUs and one process: start it with the command that --print-launch fsdp2 --gpus {count} prints, "
            "or use one with CUDA_VISIBLE_DEVICES=0"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' bars, warnings and log lines off stderr, which is vt's own; sends no telemetry."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # TRL imports vLLM if it is installed, and vLLM logs to stdout.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it reports missing parts that nothing here uses
    from vtcli.engines.loading import quiet

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
