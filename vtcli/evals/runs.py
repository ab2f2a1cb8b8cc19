"""A run's folder: the questions, the model and its answers. Everything else can be made from these again at any time.

    run.json       the benchmark, the model, the settings and versions
    tasks.jsonl    every question with its gold answer and its video (null if that is missing)
    answers.jsonl  one `vt.answer/1` line per answer, as the runner writes them

`vt eval report` makes predictions*.jsonl, scores.json, report.md and report.html from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtcli.disk import write_whole
from vtcli.errors import DataError
from vtcli.evals.benchmarks.tasks import Task
from vtcli.evals.predictions import Prediction
from vtcli.scoring.gold import Gold
from vtcli.trace.text import dump_json
from vtcli.video.text import shown

if TYPE_CHECKING:
    from vtcli.batch.items import Shard

SCHEMA = "vt.run/1"
_FPS = re.compile(r"\d{1,6}(\.\d{1,6})? fps", re.ASCII)
RUN, TASKS, ANSWERS = "run.json", "tasks.jsonl", "answers.jsonl"
_ANSWERS = "answers*.jsonl"


@dataclass(frozen=True)
class Asked:
    """A task as it was asked. `path` is the file found for its video, None where it is missing."""

    task: Task
    path: str | None

    def as_json(self) -> dict[str, Any]:
        task = self.task
        return {
            "id": task.id,
            "video": task.video,
            "path": self.path,
            "question": task.question,
            "options": list(task.gold.options) or None,
            "answer": sorted(task.gold.letters) or task.gold.text,
            "text": task.gold.text,
            "category": list(task.categories),
            "start": task.start,
            "end": task.end,
            "times": [list(span) for span in task.times] or None,
            "captions": list(task.captions) or None,
            "rate": task.rate,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Asked:
        answer = record["answer"]
        letters = frozenset(answer) if isinstance(answer, list) else frozenset[str]()
        texts = (*(record[name] for name in ("id", "video", "question", "text")), *letters, *record["category"])
        if not all(isinstance(text, str) for text in (*texts, *(record["options"] or ()), *(record["captions"] or ()))):
            raise TypeError("a field is no text")
        return cls(
            Task(
                id=record["id"],
                video=record["video"],
                question=record["question"],
                gold=Gold(letters, record["text"], tuple(record["options"] or ())),
                categories=tuple(record["category"]),
                start=record["start"],
                end=record["end"],
                times=tuple((float(start), float(end)) for start, end in record["times"] or ()),
                captions=tuple(record["captions"] or ()),
                rate=record["rate"],
            ),
            record["path"],
        )


def item_id(task: str, frames: object, sample: int) -> str:
    """Returns the id of one answer: the question, the choice of frames, and the number of the sample."""
    return f"{task}@{frames}#{sample}"


@dataclass(frozen=True)
class Run:
    """A run's folder, opened. `config` is the content of run.json."""

    folder: Path
    config: Mapping[str, Any]
    asked: tuple[Asked, ...]

    @property
    def frames(self) -> list[Any]:
        """The choices of frames, in their order: numbers, or "1 fps"."""
        return list(self.config["frames"])

    @property
    def name(self) -> str:
        """The run's name in reports."""
        return str(self.config["model"]["name"])

    def answers(self, besides: Path | None = None) -> dict[str, dict[str, Any]]:
        """Returns the answers so far, by `item_id`, but for those in the file `besides`.

        If several files have an item, an answer counts before an error.
        """
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob(_ANSWERS)):  # each shard has its own file
            if path != besides:
                for id, record in read_answers(path).items():
                    if id not in found or not has_failed(record):
                        found[id] = record
        return found

    def predictions(self, frames: object, answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Prediction]:
        """Yields the answers with this choice of frames, in the order of the questions."""
        for asked in self.asked:
            for sample in range(self.config["samples"]):
                if answer := answers.get(item_id(asked.task.id, frames, sample)):
                    yield prediction_of(asked.task, answer, sample)


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the answers in a file by `item_id`; an incomplete last line does not count. Raises DataError."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
    for number, line in enumerate(lines, 1):
        record = _answer(line)
        if record is not None:
            found[record["id"]] = record
        elif number < len(lines):
            raise DataError(f"{shown(path)}, line {number} is no answer: the file is damaged")
    return found


def has_failed(answer: Mapping[str, Any]) -> bool:
    """Whether the record of an answer holds an error instead."""
    return answer.get("error") is not None


def prediction_of(task: Task, answer: Mapping[str, Any], sample: int = 0) -> Prediction:
    """Returns a task and the record of its answer as a prediction. A record with an error has no response.

    A model's times refer to the part of the video it was shown, so true times are counted from the start of that part.
    """
    begin = task.start or 0.0
    times = tuple((start - begin, end - begin) for start, end in task.times)
    text = answer.get("text")
    failed = has_failed(answer) or not isinstance(text, str)
    response = None if failed else str(text)
    return Prediction(task.id, response, task.gold, task.categories, times, sample, task.video)


def prediction_line(prediction: Prediction) -> str:
    """Returns a prediction as a line that `vt eval score` reads."""
    gold = prediction.gold
    return dump_json(
        {
            "id": prediction.id,
            "response": prediction.response,
            "answer": (sorted(gold.letters) if len(gold.letters) > 1 else "".join(gold.letters)) or gold.text,
            "form": "letter" if gold.letters else "text",
            "options": list(gold.options) or None,
            "category": list(prediction.categories),
            "times": [list(span) for span in prediction.times] or None,
            "sample": prediction.sample,
            "video": prediction.video,
        }
    )


def open_run(folder: Path) -> Run:
    """Opens the run in a folder. Raises DataError where the folder has no run, or a damaged one."""
    config = _json(folder / RUN)
    if not isinstance(config, Mapping) or config.get("schema") != SCHEMA:
        raise DataError(f"{shown(folder)} is no run of this version: its {RUN} does not say {SCHEMA}")
    try:
        lines = (folder / TASKS).read_bytes().splitlines()
        asked = tuple(Asked.from_json(json.loads(line)) for line in lines)
        _check(config)
    except FileNotFoundError:
        raise DataError(f"{shown(folder)} has no {TASKS}: it is not a whole run") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{shown(folder)} is damaged: {type(error).__name__} in {TASKS} or {RUN}") from None
    return Run(folder, config, asked)


def _is_beginning(file: Path) -> bool:
    """Whether a file may be left over from a run that was killed while it created its folder."""
    if file.match(_ANSWERS):
        return not file.stat().st_size
    return file.name == TASKS or (file.name.startswith(".") and file.name.endswith(".part"))


def _check(config: Mapping[str, Any]) -> None:
    """Raises KeyError or TypeError where run.json lacks something that reports need."""
    texts = ("benchmark", "title", "kind", "note", "prompt")
    parts = ("annotations", "model", "environment")
    good = (
        all(isinstance(config[name], str) for name in texts)
        and all(isinstance(config[name], Mapping) for name in parts)
        and all(
            isinstance(each, str) for each in (config["model"]["name"], config["model"]["engine"], *config["extract"])
        )
        and all(type(each) is int or _FPS.fullmatch(each) for each in config["frames"])  # these become file names
        and type(config["samples"]) is int
        and {"name", "sha256"} <= set(config["annotations"])
        and "revision" in config["model"]
    )
    if not good:
        raise TypeError(RUN)


def plan_run(folder: Path, config: Mapping[str, Any], asked: Sequence[Asked]) -> Run:
    """Returns the new run of a folder, or the run in it with what is added to it. Writes nothing.

    Whatever decides the answers must be equal; choices of frames, samples and questions may be added. Raises DataError.
    """
    if (folder / RUN).exists():
        old = open_run(folder)
        if different := _difference(old, config, asked):
            raise DataError(f"{shown(folder)} is another run: {different}; give another folder with --output")
        frames = sorted({*old.frames, *config["frames"]}, key=lambda each: (isinstance(each, str), each))
        more = {"frames": frames, "samples": max(old.config["samples"], config["samples"])}
        config = {**config, **more, "environment": old.config["environment"]}
    elif folder.exists() and (not folder.is_dir() or not all(map(_is_beginning, folder.iterdir()))):
        raise DataError(f"{shown(folder)} is there and is no run: give a new or empty folder with --output")
    return Run(folder, config, tuple(asked))


def write_run(run: Run) -> None:
    """Writes a run's questions and settings into its folder, which exists. Raises VtError."""
    write_whole(run.folder / TASKS, "".join(dump_json(each.as_json()) + "\n" for each in run.asked))
    write_whole(run.folder / RUN, json.dumps(run.config, indent=2) + "\n")  # last: with this file a folder is complete


def _difference(old: Run, config: Mapping[str, Any], asked: Sequence[Asked]) -> str:
    """Describes what makes this another run; "" if nothing does."""
    for key in ("benchmark", "prompt", "model", "sampling"):
        before, now = old.config.get(key), config[key]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            differing = next((name for name in (*now, *before) if before.get(name) != now.get(name)), None)
            if differing:
                told = (_short(each.get(differing)) for each in (before, now))
                return f"its {key} has {differing} {', here '.join(told)}"
        elif before != now:
            return f"its {key} is {_short(before)}, here {_short(now)}"
    there = [each.as_json() | {"path": None} for each in old.asked]
    here = [each.as_json() | {"path": None} for each in asked]
    if there != here[: len(there)]:
        return f"it asks {len(there)} questions, which are not the first of these {len(here)}"
    return ""


def _answer(line: bytes) -> dict[str, Any] | None:
    """Returns the record of a line; None where the line is not an answer with all that reports and later runs need."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        return None
    video, settings = record.get("video"), record.get("settings")
    if not (isinstance(video, dict) and "path" in video and isinstance(settings, dict) and "fps" in settings):
        return None
    if record.get("error"):
        return record if isinstance(record["error"], dict) and "message" in record["error"] else None
    numbers = (
        ("sampling", "frames"), ("usage", "completion_tokens"),
        ("timing", "encode"), ("timing", "prefill"), ("timing", "generate"),
    )  # fmt: skip
    whole = all(
        isinstance(record.get(part), dict) and type(record[part].get(name)) in (int, float) for part, name in numbers
    )
    return record if whole and isinstance(record.get("model"), dict) else None


def answers_file(folder: Path, shard: Shard | None) -> Path:
    """Returns the file of a run's answers; each shard has its own file in the same folder."""
    return folder / (ANSWERS if shard is None else f"answers-{shard.index}-of-{shard.count}.jsonl")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{shown(path.parent)} is no run: it has no {path.name}") from None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{shown(path)} is not JSON: the run is damaged") from None


def _short(value: object) -> str:
    text = shown(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 80 else f"{text[:80]}…"
