"""`shapes`: clips of the project's own world of moving shapes, with exact ground truth. Needs no download.

The clips come from the test split: nothing was trained on them. Their events are known to the second, so the benchmark
measures grounding as well as answers.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vtcli.evals.benchmarks.tasks import Task
from vtcli.scoring.gold import Gold, resolve
from vtcli.shapes.language import truth
from vtcli.shapes.questions import Question, pick
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed

SECONDS = 8.0
FIRST = 200_000
"""Number of the benchmark's first clip; the embedded model's own scores come from clips with lower numbers."""


def shapes(clips: int = 200) -> Iterator[Task]:
    """Yields a multiple-choice and an open question for each of `clips` clips, with the times of all events."""
    for number in range(FIRST, FIRST + clips):
        scene = scene_of(number)
        times = tuple((float(segment.start), float(segment.end)) for segment in truth(scene))
        for form, choices in (("choice", True), ("open", False)):
            asked = pick(scene, random.Random(f"eval {number} {form}"), choices)
            id = f"{number - FIRST}/{form}"
            yield Task(id, name_of(number), asked.text, _gold(asked), (form, f"{form}: {asked.kind}"), times=times)


def render(name: str, folder: Path) -> Path:
    """Returns the clip of this name in `folder`, rendered if missing; safe if another process renders it too."""
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".shapes-", dir=folder) as aside:
            fresh = Path(aside) / name
            write_clip(scene_of(int(path.stem.removeprefix("shapes-"))), fresh)
            os.replace(fresh, path)
    return path


def name_of(number: int) -> str:
    return f"shapes-{number}.mp4"


def scene_of(number: int) -> Scene:
    return make_scene(split_seed("test", number), SECONDS)


def _gold(asked: Question) -> Gold:
    return resolve(asked.answer, asked.choices, "text")
