"""A whole run: check, plan, SFT, GRPO, report. What was done is not done again: the same command goes on.

    run(Job(load_recipe("tiny"), Path("my-run")))

A run's folder holds run.json (what it is), problems.jsonl (records left out), a folder a stage with its log.jsonl,
checkpoints and `final` (a whole checkpoint, for `vt ask -m`), and report.html and report.json.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import vtcli
from vtcli.disk import free_bytes
from vtcli.errors import DataError, TrainError, UsageError
from vtcli.install import require
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.models.fingerprint import fingerprint
from vtcli.models.tokenizer import Tokenizer
from vtcli.scoring.rewards import mean_rouge
from vtcli.settings import cache_folder
from vtcli.train import duration, hub, plan
from vtcli.train.alone import alone_in
from vtcli.train.check import Checked, check, list_problems
from vtcli.train.encode import Encoder
from vtcli.train.frames import FrameStore, frame_request, picture_pixels
from vtcli.train.recipe import STAGES, Recipe, StageName
from vtcli.train.records import Record, read_records

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")


class Follower(Protocol):
    """Follows a run, in its first process only. Beside these, the methods of `vtcli.train.trainer.Listener`."""

    def fetching(self, name: str, done: int, total: int) -> None:
        """Bytes of a data set that are here so far."""

    def fetched(self, data: hub.Fetched) -> None:
        """Records of a data set are on the disk."""

    def checking(self, done: int, total: int) -> None:
        """Videos read so far."""

    def checked(self, checked: Checked) -> None:
        """The data are known."""

    def planned(self, stage: StageName, planned: duration.Planned, on: plan.Devices) -> None:
        """A stage that is still to be run fits."""

    def begins(self, stage: StageName, resumed: int) -> None:
        """A stage goes on after step `resumed`; its model is to be loaded."""

    def evaluating(self, stage: StageName, done: int, total: int) -> None:
        """Held-out questions answered so far."""

    def finished(self, stage: StageName, model: Path) -> None:
        """A stage is done."""

    def step(self, stage: str, step: int, steps: int, row: dict[str, Any]) -> None: ...

    def saved(self, stage: str, step: int) -> None: ...


@dataclass(frozen=True)
class Job:
    """What to run, and where. stages: those of the recipe where empty. skip_bad: train without records that cannot be
    used, instead of stopping. dry_run: check and plan only."""

    recipe: Recipe
    out: Path
    stages: tuple[StageName, ...] = ()
    skip_bad: bool = False
    dry_run: bool = False
    name: str = ""


def run(job: Job, follower: Follower | None = None) -> dict[str, Any]:
    """Runs `job` and returns its report (docs/schema/train.schema.json).

    Raises UsageError (recipe), DataError (records), ModelError (base), TrainError (memory, disk, a run that fails).
    """
    require(
        "vt train", "train", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "yaml", "safetensors"
    )
    stages = _stages(job)
    base = open_checkpoint(job.recipe.model)
    if base.is_gguf:
        raise UsageError(f"{job.recipe.model} is a GGUF file: training starts from a checkpoint folder")
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        from accelerate import PartialState

        _check_launch()
        state = PartialState(cpu=not _has_gpu())
        if not state.is_main_process:
            follower = None
        elif not job.dry_run:
            stack.enter_context(alone_in(job.out))
        with state.main_process_first():  # the others find the frames it read
            encoder, checked, commits = _prepare(job, base, stages, state.is_main_process, follower)
        planned = _plan(job, base, checked, [name for name in stages if not _is_done(job.out / name)], follower)
        if not job.dry_run:
            begun = _begin(job, base, checked, commits, state.is_main_process)
            if state.is_main_process:
                _write_plans(planned, job.out)
            state.wait_for_everyone()
            if "sft" not in stages and _is_done(job.out / "sft"):  # `--stage grpo` after `--stage sft`
                base = encoder.checkpoint = open_checkpoint(job.out / "sft" / "final")
            for name in stages:
                model = _stage(name, job, base, encoder, checked, state, follower)
                base = replace(open_checkpoint(model), scope=base.scope)
                encoder.checkpoint = base
        else:
            begun = {}
    from vtcli.train.report import make_report, write_report

    report = make_report(job, stages, checked, commits, begun, planned)
    if state.is_main_process and not job.dry_run:
        write_report(report, job.out)
    return report


def _stages(job: Job) -> tuple[StageName, ...]:
    there = tuple(name for name in STAGES if job.recipe.stage(name) is not None)
    for name in job.stages:
        if name not in there:
            raise UsageError(f"--stage {name}: the recipe has {' and '.join(there)}")
    return tuple(name for name in there if not job.stages or name in job.stages)


def _prepare(
    job: Job, base: Checkpoint, stages: Sequence[StageName], is_main: bool, follower: Follower | None
) -> tuple[Encoder, Checked, dict[str, str]]:
    """What encodes records, the records that may be used, and the commits of those that came from the hub."""
    recipe = job.recipe
    files, fetched = _files(job, is_main, follower)
    if not files and recipe.data.shapes:
        from vtcli.train.shapes import write_shapes

        files = [write_shapes(cache_folder() / "shapes", recipe.data.shapes, workers=recipe.data.workers)]
    if not files:
        raise UsageError("no training data: give --data FILE (JSON, JSON lines or Parquet), or OWNER/NAME of the hub")
    read = read_records(files, recipe.data.roots)
    if not read.total:
        raise DataError(f"{', '.join(map(str, files))}: no records")
    hub.check_videos(fetched, read.records)
    kept = cache_folder() / "frames" if recipe.data.cache else None
    store = FrameStore(frame_request(recipe.frames, base), kept, picture_pixels(recipe.frames, base))
    encoder = Encoder(base, Tokenizer(base.path), recipe, store)
    if kept is not None:
        _check_frames(read.records, encoder.store, kept)
    if any(record.kind == "free-form" for record in read.records):
        mean_rouge("", "")  # whether it is installed: rewards and held-out scores will ask for it
    checked = check(read, encoder, recipe.data, recipe.sft, follower.checking if follower else None)
    if is_main:
        list_problems(checked.problems, job.out / "problems.jsonl")
    if follower:
        follower.checked(checked)
    unusable = checked.problems
    if unusable and not job.skip_bad:
        raise DataError(
            f"{len(unusable)} of {checked.total} records cannot be used, first {unusable[0]} (all are in "
            f"{job.out / 'problems.jsonl'}): mend them, or give --skip-bad to train without them"
        )
    if not checked.train:
        raise DataError(f"none of {checked.total} records can be trained on")
    for name in stages:
        stage = recipe.stage(name)
        if stage is not None and len(checked.train) < stage.batch:
            raise DataError(f"{len(checked.train)} records to train on are fewer than {name}.batch, {stage.batch}")
    return encoder, checked, {each.source.text: each.commit for each in fetched}


def _files(job: Job, is_main: bool, follower: Follower | None) -> tuple[list[str | Path], list[hub.Fetched]]:
    """The files of records, and those of them that came from the hub: a run that goes on keeps to their commits."""
    told = _before(job.out).get("hub")
    pinned = {name: str(commit) for name, commit in told.items()} if isinstance(told, dict) else {}
    files: list[str | Path] = []
    fetched: list[hub.Fetched] = []
    for name in job.recipe.data.files:
        source = hub.parse(name)
        if source is None:
            files.append(name)
            continue
        fetched.append(hub.fetch(source, pinned.get(name), is_main, follower.fetching if follower else lambda *_: None))
        files += fetched[-1].files
        if follower:
            follower.fetched(fetched[-1])
    return files, fetched


def _check_frames(records: Sequence[Record], store: FrameStore, folder: Path) -> None:
    """Raises TrainError where the disk has no room for the frames that are still to be kept."""
    wanted = {(file, bool(record.pictures)) for record in records for file in record.shown}
    missing = [each for each in wanted if not store.is_kept(*each)]
    a_clip, a_picture = 3 * (store.request.frames or 64) * store.request.max_pixels, 3 * store.pixels[1]
    need, free = sum(a_picture if is_picture else a_clip for _, is_picture in missing), free_bytes(folder)
    if need > free:
        raise TrainError(
            f"the frames of {len(missing)} videos and pictures take up to {need / 1e9:.1f} GB in {folder} and "
            f"{free / 1e9:.1f} GB are free: make room, set VT_HOME to another disk, or --set data.cache=false"
        )


def _plan(
    job: Job, base: Checkpoint, checked: Checked, stages: Sequence[StageName], follower: Follower | None
) -> dict[StageName, duration.Planned]:
    """What each stage takes of memory, disk and time. Raises TrainError where it does not fit."""
    if not stages:
        return {}
    recipe, on = job.recipe, plan.devices()
    longest = {"sft": checked.whole, "grpo": checked.tokens}
    memory = {name: plan.check_memory(base, recipe, name, longest[name], on) for name in stages}
    plan.check_disk(base, recipe, list(stages), job.out)
    rate = duration.measure(on.kind, recipe, duration.weight_bytes(base, recipe))
    found = {}
    for name in stages:
        found[name] = duration.planned(base, recipe, name, checked, memory[name], on, rate)
        if follower:
            follower.planned(name, found[name], on)
    return found


def _write_plans(planned: Mapping[StageName, duration.Planned], out: Path) -> None:
    """A stage's first plan stays, to be held against what it took."""
    for name, each in planned.items():
        file = out / name / "plan.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = file.with_suffix(".part")
            aside.write_text(json.dumps(asdict(each), indent=1), encoding="utf-8")
            aside.replace(file)


def _is_done(folder: Path) -> bool:
    """Whether the stage of this folder has been run to its end."""
    return (folder / "final" / "config.json").is_file()


def _begin(job: Job, base: Checkpoint, checked: Checked, commits: Mapping[str, str], is_main: bool) -> dict[str, Any]:
    """What the run is, as run.json tells it. Raises TrainError where the folder holds another run."""
    told = {
        "schema": "vt.run/1",
        "recipe": job.recipe.as_json(),
        "model": fingerprint(base),
        "records": _fingerprint((*checked.train, *checked.held_out)),
        "hub": dict(commits),
        "versions": {"vtcli": vtcli.__version__} | {name: metadata.version(name) for name in LIBRARIES},
    }
    told = json.loads(json.dumps(told))
    if before := _before(job.out):
        if difference := _difference(before, told):
            raise TrainError(f"{job.out} holds another run ({difference}): give another --out, or that one's values")
        return before
    if is_main:
        job.out.mkdir(parents=True, exist_ok=True)
        aside = _run_file(job.out).with_suffix(".part")
        aside.write_text(json.dumps(told, indent=1), encoding="utf-8")
        aside.replace(_run_file(job.out))
    return dict(told)


def _before(out: Path) -> dict[str, Any]:
    """What run.json tells of the run in this folder, {} where there is none. Raises TrainError."""
    try:
        told = json.loads(_run_file(out).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or not told:
        raise TrainError(f"{_run_file(out)} cannot be read: give another --out")
    return told


def _run_file(out: Path) -> Path:
    return out / "run.json"


#: What may be another when a run goes on: it changes no number.
_FREE = (
    "description",
    "model",
    "log_every",
    "save_every",
    "keep",
    "evaluate_every",
    "workers",
    "check",
    "cache",
    "files",
    "roots",
)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    for name, what in (("model", "its model"), ("records", "its records")):
        if before.get(name) != now[name]:
            return f"{what} are others" if name == "records" else f"{what} is another"
    then = before.get("recipe")
    return _first_difference(then if isinstance(then, dict) else {}, now["recipe"], "")


def _first_difference(before: dict[str, Any], now: dict[str, Any], where: str) -> str:
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if old == new or key in _FREE:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            if found := _first_difference(old, new, f"{where}{key}."):
                return found
            continue
        return f"{where}{key} is {old} there, {new} here"
    return ""


def _fingerprint(records: Sequence[Record]) -> str:
    told = [
        (r.problem, r.kind, r.answer, r.options, r.process, [file.name for file in r.shown], r.spans) for r in records
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _stage(
    name: StageName,
    job: Job,
    base: Checkpoint,
    encoder: Encoder,
    checked: Checked,
    state: Any,
    follower: Follower | None,
) -> Path:
    """Trains one stage to its end, from its last checkpoint where there is one; the folder of the model it gives."""
    from vtcli.train import checkpoints
    from vtcli.train.evaluate import held_out_scores
    from vtcli.train.grpo import forbidden, grpo_trainer
    from vtcli.train.journal import Journal
    from vtcli.train.model import load_for_training
    from vtcli.train.rollout import Drawing
    from vtcli.train.sft import sft_trainer
    from vtcli.train.trainer import Context

    folder, stage = job.out / name, job.recipe.stage(name)
    final = folder / "final"
    assert stage is not None
    if _is_done(folder):
        if follower:
            follower.finished(name, final)
        return final
    if state.is_main_process:  # what a crash left
        shutil.rmtree(folder / checkpoints.ASIDE, ignore_errors=True)
    kept = checkpoints.complete(folder)
    if follower:
        follower.begins(name, checkpoints.step_of(kept[-1]) if kept else 0)
    model = load_for_training(base, job.recipe)
    make = sft_trainer if name == "sft" else grpo_trainer
    trainer: Any = make(model, job.recipe, checked.train, encoder, str(folder), state.num_processes)
    longest = duration.longest_reply(job.recipe)
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
    """Writes the whole model beside, then gives it its name."""
    from vtcli.train.model import load_for_training, save_merged, store_as

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
        aside.rename(final)
    state.wait_for_everyone()


def _check_launch() -> None:
    """Raises UsageError where one process sees several GPUs, which the trainers cannot use."""
    import torch

    count = torch.cuda.device_count()
    if count > 1 and "WORLD_SIZE" not in os.environ:
        raise UsageError(
            f"{count} GPUs and one process: start it with the command that --print-launch fsdp2 --gpus {count} prints, "
            "or use one with CUDA_VISIBLE_DEVICES=0"
        )


@contextmanager
def _faults(name: StageName) -> Iterator[None]:
    """What the libraries raise for want of memory, or of a process they had, in one line."""
    from vtcli.engines.loading import memory_errors

    remedy = f"--set {name}.per_device=1, fewer frames or tokens, or more devices; start again to go on"
    try:
        with memory_errors("cuda" if _has_gpu() else "cpu", lambda: remedy):
            yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainError(f"{name}: a process that reads videos was ended from outside; start again to go on") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, warnings or log lines of the libraries on stderr, which is vt's own; nothing told to anybody."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from vtcli.engines.loading import quiet

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
