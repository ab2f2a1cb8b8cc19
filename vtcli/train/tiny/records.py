"""`python -m vtcli.train.tiny.records FOLDER`: writes the clips and records that `vt train` makes `tiny` from.

Clips are 8 seconds, or 6 to 24, long; each is asked one multiple-choice and one open question. Most are written as
small as the model sees them, which takes a quarter of the time; every fourth is as large as those it is tested on.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from vtcli.shapes.questions import pick
from vtcli.shapes.render import CLIP_SIZE
from vtcli.train.shapes import told_of, write_aside, write_clips, write_lines
from vtcli.train.tiny.checkpoint import SIZE
from vtcli.train.tiny.data import draw_clip

FIRST = 4_000_000
"""Clip numbers begin here; the base was not made from these clips."""
CLIPS = 9600
NAME = "records.jsonl"


def write_records(folder: Path, clips: int = CLIPS, workers: int = 2) -> Path:
    """Writes clips and records to `folder` and returns the file of records. Existing clips are kept."""
    numbers = range(FIRST, FIRST + clips)
    write_clips(folder, numbers, _write, workers)
    return write_lines(folder / NAME, (record for number in numbers for record in _records(number)))


def _records(number: int) -> Iterator[dict[str, object]]:
    scene, _ = draw_clip("train", number)
    for multiple_choice in (True, False):
        question = pick(scene, random.Random(f"records {number} {multiple_choice}"), multiple_choice)
        name = f"{number}-{'choice' if multiple_choice else 'open'}"
        yield {"problem_id": name} | told_of(scene, question, f"{number}.mp4")


def _write(path: Path, number: int) -> None:
    write_aside(draw_clip("train", number)[0], path, SIZE if number % 4 else CLIP_SIZE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=CLIPS)
    options = parser.parse_args()
    print(write_records(options.folder, options.clips))


if __name__ == "__main__":
    main()
