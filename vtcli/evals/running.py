"""Runs a benchmark: its questions become the runner's items, its folder is made, answers are judged as they come."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vtcli import __version__
from vtcli.ask import Question
from vtcli.batch.items import Item, Shard
from vtcli.batch.run import Batch, check_items
from vtcli.errors import DataError, UsageError
from vtcli.evals.benchmarks import shapes
from vtcli.evals.benchmarks.choice import own
from vtcli.evals.benchmarks.prompts import prompt_for
from vtcli.evals.benchmarks.table import JSONL, SHAPES, Benchmark, benchmark_named
from vtcli.evals.benchmarks.tasks import Task
from vtcli.evals.benchmarks.videos import Videos
from vtcli.evals.runs import (
    Asked,
    Run,
    answers_file,
    has_failed,
    item_id,
    plan_run,
    prediction_of,
    read_answers,
    write_run,
)
from vtcli.evals.scores import Scored, judge_one
from vtcli.models.fingerprint import fingerprint
from vtcli.prompt import Prompt
from vtcli.session import Session
from vtcli.video.text import shown

PACKAGES = ("torch", "transformers", "llama-cpp-python", "av", "numpy")


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    `question` holds what all questions share: model, engine, device, reader, sampling. `frames`: the choices of frames,
    each used for every question, or None where `question.fps` chooses. `samples`: replies per question, drawn with the
    sampling seed and the seeds after it. `extract`: the rules that read answers; the first one counts.
    """

    question: Question
    frames: tuple[int, ...] | None = (16,)
    samples: int = 1
    prompt: str = "paper"
    extract: tuple[str, ...] = ("paper", "strict")
    shard: Shard | None = None
    retry_failed: bool = False


@dataclass(frozen=True)
class Source:
    """A benchmark's questions, the file they were read from, and the function that finds a task's video."""

    benchmark: Benchmark
    tasks: tuple[Task, ...]
    annotations: dict[str, Any]
    find: Callable[[Task], Path | None]


def source(
    name: str,
    annotations: Path | None,
    videos: Path | None,
    limit: int | None,
    cache: Path,
    offline: bool = False,
) -> Source:
    """Returns the questions of the benchmark `name`.

    They are read from `annotations`, else from the videos' folder or its parent, else from the hub. The clips of
    `shapes` are rendered into `videos`, else into `cache`. Raises UsageError and DataError.
    """
    if name == SHAPES:
        folder = videos or cache / "shapes"
        tasks = tuple(shapes.shapes() if limit is None else shapes.shapes((limit + 1) // 2))
        return Source(
            _SHAPES, tasks[:limit], {"name": SHAPES, "sha256": None}, lambda task: shapes.render(task.video, folder)
        )
    if name.startswith(JSONL):
        file = Path(name.removeprefix(JSONL)).expanduser()
        benchmark = replace(_OWN, name=f"{JSONL}{file.stem}", title=file.name)
        folder = videos or file.parent
    else:
        benchmark = benchmark_named(name)
        if videos is None:
            raise UsageError(f"--videos is missing: give the folder that holds the videos of {benchmark.title}")
        folder, file = videos, _annotations(benchmark, annotations, videos, offline)
    tasks = tuple(benchmark.tasks(file))
    if not tasks:
        raise DataError(f"{shown(file)} holds no question of {benchmark.title}")
    index = Videos(folder)

    def find(task: Task) -> Path | None:
        return (index.pictures(task.video) if task.rate else None) or index.find(task.video)

    return Source(benchmark, tasks[:limit], {"name": file.name, "sha256": _sha256(file)}, find)


_SHAPES = Benchmark(
    SHAPES, "shapes", "choice", lambda _: shapes.shapes(), (), "generated", "generated", "Apache-2.0", "file",
    "form and kind", note="Clips of the project's own world, which the embedded model was trained on others of.",
)  # fmt: skip
_OWN = Benchmark(JSONL, "", "choice", own, (), "one's own", "one's own", "", "file", "category")


def _annotations(benchmark: Benchmark, given: Path | None, videos: Path, offline: bool) -> Path:
    if given is not None:
        return benchmark.file(given)
    for name in benchmark.files:
        for place in (videos, videos.parent):
            if (place / name).exists():
                return place / name
    if benchmark.hub is None or not benchmark.files:
        raise UsageError(f"--annotations is missing: give the file or folder ({benchmark.annotations})")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(benchmark.hub, benchmark.files[0], repo_type="dataset", local_files_only=offline))
    except Exception as error:  # a dozen exception types from three libraries
        raise DataError(
            f"{benchmark.files[0]} of {benchmark.hub} could not be fetched ({type(error).__name__}): "
            "download it and give it with --annotations"
        ) from error


@dataclass(frozen=True)
class Running:
    """A run and the runner of its items, or of its shard's. `elsewhere`: the items that other shards' files answer."""

    run: Run
    batch: Batch
    elsewhere: int

    @property
    def total(self) -> int:
        """Answers that the run (or its shard) comprises."""
        return self.batch.total + self.elsewhere

    @property
    def done(self) -> int:
        """Answers among them that need not be asked again."""
        return self.batch.done + self.elsewhere


@contextmanager
def open_batch(folder: Path, source: Source, settings: Settings, session: Session) -> Iterator[Running]:
    """Creates the run's folder, or continues the run in it, and holds its file of answers open.

    Items that the file of another shard answers are left out. Raises DataError, UsageError and VtError, before
    run.json and tasks.jsonl are written.
    """
    run = plan_run(folder, _config(source, settings, session), _asked(source, settings))
    output = answers_file(folder, settings.shard)
    there = read_answers(output) if output.exists() else {}
    others = run.answers(besides=output)
    if settings.retry_failed:
        others = {id: answer for id, answer in others.items() if not has_failed(answer)}
    items = items_of(run, settings, prompt_for(settings.prompt, source.benchmark.official), others | there)
    left = [item for item in items if item.id in there or item.id not in others]
    check_items(left, session.checkpoint)  # before there is a folder
    folder.mkdir(parents=True, exist_ok=True)
    with Batch(left, session, output, retry_failed=settings.retry_failed) as batch:
        write_run(run)
        yield Running(run, batch, len(items) - len(left))


def _asked(source: Source, settings: Settings) -> list[Asked]:
    """Finds the videos of the tasks. Raises DataError where none is there, UsageError where --fps cannot apply."""
    asked = [Asked(task, str(path) if (path := source.find(task)) else None) for task in source.tasks]
    if not any(each.path for each in asked):
        wanted = len({task.video for task in source.tasks})
        raise DataError(f"none of the {wanted} videos is there, the first is {shown(source.tasks[0].video)}")
    if settings.frames is None and any(each.task.rate and os.path.isdir(each.path or "") for each in asked):
        raise UsageError("--fps does not choose among the pictures of a folder, as some videos here are: use --frames")
    return asked


def _config(source: Source, settings: Settings, session: Session) -> dict[str, Any]:
    """Returns the content of run.json."""
    benchmark, question, checkpoint = source.benchmark, settings.question, session.checkpoint
    sampling = question.sampling
    return {
        "schema": "vt.run/1",
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "kind": benchmark.kind,
        "note": benchmark.note,
        "known": benchmark.known,
        "annotations": source.annotations,
        "prompt": settings.prompt,
        "extract": list(settings.extract),
        "frames": list(choices(settings)),
        "samples": settings.samples,
        "model": {
            "name": checkpoint.name,
            "revision": checkpoint.revision,
            "engine": session.engine.name,
            "weights": fingerprint(checkpoint)[:16],
        },
        "sampling": {
            "max_pixels": question.max_pixels,
            "reader": question.reader,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        },
        "environment": environment(),
    }


def choices(settings: Settings) -> tuple[int | str, ...]:
    """Returns the choices of frames as reports name them: 16, "0.5 fps"."""
    if settings.frames is not None:
        return settings.frames
    return (f"{settings.question.fps:.6f}".rstrip("0").rstrip(".") + " fps",)


@dataclass(frozen=True)
class Progress:
    """The latest answer: judged, and its record."""

    scored: Scored
    record: dict[str, Any]


def answer_all(running: Running, settings: Settings, warn: Callable[[str], None]) -> Iterator[Progress]:
    """Asks the remaining questions and judges each answer as it comes, by the first rule."""
    tasks = {each.task.id: each.task for each in running.run.asked}
    for record in running.batch:
        task, sample = tasks[record["extra"]["task"]], record["extra"]["sample"]
        scored = judge_one(prediction_of(task, record, sample), settings.extract[:1])
        yield Progress(scored, record)
    for warning in running.batch.warnings:
        warn(warning)


def items_of(
    run: Run, settings: Settings, prompt: Callable[[Task], Prompt], answers: Mapping[str, Mapping[str, Any]]
) -> list[Item]:
    """Returns the items of the run or its shard: each question with a video or an answer, by frames and sample.

    Choices of frames and samples of earlier commands are included: what these commands left unasked is asked too. An
    item in `answers` keeps the video it was asked about, wherever that is now; failed ones only if they are not retried
    or their video is gone.
    """
    items = []
    for each in _share(run.asked, settings.shard):
        task, common = each.task, settings.question
        wording = prompt(task)
        rate = task.rate if task.rate and os.path.isdir(each.path or "") else None
        for frames in run.frames:
            for sample in range(run.config["samples"]):
                id, seed = item_id(task.id, frames, sample), common.sampling.seed
                video, fps = each.path, rate or (None if isinstance(frames, int) else float(frames.split()[0]))
                answer = answers.get(id)
                if answer and not (settings.retry_failed and has_failed(answer) and each.path):
                    video, fps = answer["video"]["path"], answer["settings"]["fps"]
                if video is None:
                    continue
                question = replace(
                    common,
                    video=video,
                    question=task.question,
                    choices=task.gold.options,
                    prompt=wording,
                    frames=frames if isinstance(frames, int) else None,
                    fps=fps,
                    start=task.start,
                    end=task.end,
                    sampling=replace(common.sampling, seed=None if seed is None else seed + sample),
                )
                extra = {"task": task.id, "frames": frames, "sample": sample}
                items.append(Item(id, question, extra))
    return items


def _share(asked: Sequence[Asked], shard: Shard | None) -> list[Asked]:
    """Returns the tasks of one shard; all tasks about a video belong to the same shard.

    The tasks alone decide, not the videos that are there: shards agree on every machine, and when tasks are added.
    """
    if shard is None:
        return list(asked)
    numbers: dict[str, int] = {}
    for each in asked:
        numbers.setdefault(each.task.video, len(numbers))
    return [each for each in asked if numbers[each.task.video] % shard.count == shard.index - 1]


def environment() -> dict[str, str]:
    """Returns the versions that an answer may depend on."""
    found = {"vt": __version__, "python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str | None:
    """Returns the digest of a file; None for a folder of several files."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
