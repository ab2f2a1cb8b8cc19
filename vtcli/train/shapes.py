"""A training set of moving shapes: clips as mp4 files and records as JSON lines, to go the way of any data."""

from __future__ import annotations

import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from vtcli.shapes.language import response, truth
from vtcli.shapes.questions import Question, pick
from vtcli.shapes.render import CLIP_SIZE, write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed
from vtcli.video.sampling import spread

FIRST = 9_000_000
"""Clips that the embedded model was not made from begin here."""
SECONDS = 8.0
FRAMES = 16


def write_shapes(folder: Path, clips: int, first: int = FIRST, workers: int = 2) -> Path:
    """Writes `clips` clips with a question each to `folder` and gives the file of records. What is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [number for number in range(first, first + clips) if not (folder / f"{number}.mp4").is_file()]
    if numbers:
        with ProcessPoolExecutor(min(workers, len(numbers)), get_context("spawn")) as pool:
            list(pool.map(_write, [str(folder)] * len(numbers), numbers, chunksize=8))
    file = folder / f"{first}-{clips}.jsonl"
    lines = [json.dumps(record_of(number)) for number in range(first, first + clips)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def record_of(number: int) -> dict[str, object]:
    """The record of clip `number`, every second one a multiple choice."""
    scene, dice = make_scene(split_seed("train", number), SECONDS), random.Random(f"records {number}")
    return {"problem_id": number} | told_of(scene, pick(scene, dice, multiple_choice=number % 2 == 0), f"{number}.mp4")


def told_of(scene: Scene, question: Question, path: str) -> dict[str, object]:
    """The record of a question about a scene whose clip lies at `path`."""
    times = [index / scene.fps for index in spread(0, scene.frames - 1, FRAMES)]
    per_grid = 2 * scene.frames / scene.fps / FRAMES
    told = response(scene, times, per_grid, question.evidence, question.answer, question.choices)
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


def _write(folder: str, number: int) -> None:
    write_aside(make_scene(split_seed("train", number), SECONDS), Path(folder) / f"{number}.mp4")


def write_aside(scene: Scene, path: Path, size: int = CLIP_SIZE) -> None:
    """Writes a clip that is whole as soon as it is there."""
    aside = path.with_suffix(f".{os.getpid()}.part")
    write_clip(scene, aside, size)
    aside.replace(path)
