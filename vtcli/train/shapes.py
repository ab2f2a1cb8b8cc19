"""Makes a training set of moving shapes: clips as mp4 files and records as JSON lines, read like any data."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from vtcli.shapes.language import response, truth
from vtcli.shapes.questions import Question, pick
from vtcli.shapes.render import CLIP_SIZE, write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed
from vtcli.video.sampling import spread

FIRST = 9_000_000
"""Clip numbers begin here; the embedded model was not made from these clips."""
SECONDS = 8.0
FRAMES = 16


def write_shapes(folder: Path, clips: int, first: int = FIRST, workers: int = 2) -> Path:
    """Writes `clips` clips with one question each to `folder`; returns the file of records. Existing clips are kept."""
    numbers = range(first, first + clips)
    write_clips(folder, numbers, _write, workers)
    return write_lines(folder / f"{first}-{clips}.jsonl", map(record_of, numbers))


def write_clips(folder: Path, numbers: Iterable[int], write: Callable[[Path, int], None], workers: int) -> None:
    """Has `write`, a module-level function, write each `NUMBER.mp4` that is not in `folder` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in numbers if not (folder / f"{number}.mp4").is_file()]
    if missing:
        with ProcessPoolExecutor(max(1, min(workers, len(missing))), get_context("spawn")) as pool:
            list(pool.map(write, [folder / f"{number}.mp4" for number in missing], missing, chunksize=8))


def write_lines(file: Path, records: Iterable[dict[str, object]]) -> Path:
    """Writes records as JSON lines and returns their file."""
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def sample_times(scene: Scene) -> tuple[list[float], float]:
    """Returns the timestamps, in seconds, of the 16 frames that vt would choose, and the seconds per grid step."""
    return [index / scene.fps for index in spread(0, scene.frames - 1, FRAMES)], 2 * scene.frames / scene.fps / FRAMES


def record_of(number: int) -> dict[str, object]:
    """Returns the record of clip `number`; every second one is multiple choice."""
    scene, dice = make_scene(split_seed("train", number), SECONDS), random.Random(f"records {number}")
    return {"problem_id": number} | told_of(scene, pick(scene, dice, multiple_choice=number % 2 == 0), f"{number}.mp4")


def told_of(scene: Scene, question: Question, path: str) -> dict[str, object]:
    """Returns the record of a question about a scene whose clip is at `path`."""
    told = response(scene, *sample_times(scene), question.evidence, question.answer, question.choices)
    process, answer = told.removesuffix("</answer>").rsplit(" <answer>", 1)
    options = [f"{letter}. {text}" for letter, text in zip("ABCDEFGH", question.choices, strict=False)]
    return {
        "problem": question.text,
        "data_type": "video",
        "problem_type": "multiple choice" if options else "exact",
        "options": options,
        "process": process,
        "solution": f"<answer>{answer}</answer>",
        "path": path,
        "data_source": "shapes",
        "times": [[fact.start, fact.end] for fact in truth(scene)],
    }


def _write(path: Path, number: int) -> None:
    write_aside(make_scene(split_seed("train", number), SECONDS), path)


def write_aside(scene: Scene, path: Path, size: int = CLIP_SIZE) -> None:
    """Writes a clip aside and renames it, so that an existing clip is whole."""
    aside = path.with_suffix(f".{os.getpid()}.part")
    write_clip(scene, aside, size)
    aside.replace(path)
