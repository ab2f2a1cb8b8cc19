"""`shapes`: clips of the project's own world of moving shapes, with exact truth. Needs no download.

The clips are the test split's: nothing was trained on them. Their truth is known to the second, so that grounding is
measured as well as answers.
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
"""Numbers of the benchmark's clips; lower ones are those that the embedded model's own scores are of."""


def shapes(clips: int = 200) -> Iterator[Task]:
    """For each of so many clips a multiple-choice and an open question, with the times of all that happens."""
    for number in range(FIRST, FIRST + clips):
        scene = scene_of(number)
        times = tuple((float(segment.start), float(segment.end)) for segment in truth(scene))
        for form, choices in (("choice", True), ("open", False)):
            asked = pick(scene, random.Random(f"eval {number} {form}"), choices)
            id = f"{number - FIRST}/{form}"
            yield Task(id, name_of(number), asked.text, _gold(asked), (form, f"{form}: {asked.kind}"), times=times)


def render(name: str, folder: Path) -> Path:
    """The clip of that name in `folder`, rendered where it is not there yet; another process may do so too."""
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
