"""Scores `tiny` on clips not used for training, as a user would ask: mp4 files, vt's reader, layout and engine.

`python -m vtcli.train.tiny.evaluate FOLDER` prints a table and writes it, with every answer, to `--work`.
Each clip is asked one multiple-choice and one open question; "blind" shows another clip's video with the question.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from vtcli import ask
from vtcli.engines.base import Engine, SamplingOptions
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.scoring.spans import best_ious
from vtcli.shapes.language import truth
from vtcli.shapes.questions import CHOICES, Question, pick
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed
from vtcli.trace.answers import settle
from vtcli.trace.model import Trace
from vtcli.train.tiny.data import LONGEST_SECONDS, USUAL_SECONDS

LONG_FIRST_CLIP = 100_000
"""Clips of other lengths are numbered from here."""


@dataclass(frozen=True)
class Item:
    """One question and its outcome; `iou` is the mean over the true segments of the best overlap."""

    set: str
    clip: int
    seconds: float
    kind: str
    multiple_choice: bool
    expected: str
    answer: str
    correct: bool
    format_ok: bool
    iou: float
    tokens: int


def scene_of(clip: int) -> Scene:
    """Returns test clip number `clip`: 8 seconds, or from 100,000 on 6 to 24."""
    seconds = USUAL_SECONDS if clip < LONG_FIRST_CLIP else random.Random(clip).randint(12, 2 * LONGEST_SECONDS) / 2
    return make_scene(split_seed("test", clip), seconds)


def question_of(clip: int, multiple_choice: bool) -> Question:
    """Returns the question that test clip `clip` is asked."""
    return pick(scene_of(clip), random.Random(f"test {clip} {multiple_choice}"), multiple_choice)


def mean_iou(scene: Scene, trace: Trace) -> float:
    """Returns the paper's mIoU (section 7.3): per true segment the best overlap of any segment in the trace."""
    told = [span for segment in trace.segments if (span := segment.span)]
    best = best_ious(told, [(fact.start, fact.end) for fact in truth(scene)])
    return sum(best) / len(best)


def ask_clip(engine: Engine, folder: str, clip: int, shown: int, name: str) -> list[Item]:
    """Asks both questions of `clip` about the video of clip `shown`."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "clip.mp4"
        write_clip(scene_of(shown), path)
        return [_ask(engine, folder, clip, path, multiple_choice, name) for multiple_choice in (True, False)]


def _ask(engine: Engine, folder: str, clip: int, path: Path, multiple_choice: bool, name: str) -> Item:
    scene, question = scene_of(clip), question_of(clip, multiple_choice)
    greedy = SamplingOptions(max_tokens=400, temperature=0)
    plan = ask.prepare(ask.Question(path, question.text, folder, question.choices, sampling=greedy))
    _, request = ask.read(plan)
    trace, stats = ask.reply(engine, request)
    answer, _ = settle(trace, question.choices)
    correct = answer.strip().casefold() == question.answer.casefold()
    return Item(
        name, clip, scene.duration, question.kind, multiple_choice, question.answer, answer, correct,
        trace.format_ok, mean_iou(scene, trace), stats.completion_tokens,
    )  # fmt: skip


def _work(folder: str, clips: Sequence[int], name: str, blind: bool) -> list[Item]:
    checkpoint = open_checkpoint(folder)
    engine = ask.choose_engine(checkpoint, Tokenizer(checkpoint.path), ask.Question("", "", folder, device="cpu"))
    engine.open()
    found = [item for clip in clips for item in ask_clip(engine, folder, clip, clip + 1 if blind else clip, name)]
    engine.close()
    return found


def table(items: Sequence[Item]) -> str:
    """Returns a table of accuracy on multiple-choice and open questions, valid format and mean IoU.

    It has one row per set, then accuracy by kind of question. Chance is one option of four, and for open questions the
    most frequent answer of each kind.
    """
    rows = [
        "| clips | questions | multiple choice % | open % | valid format % | mean IoU of `<time>` |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(item.set for item in items):
        group = [item for item in items if item.set == name]
        choice, free = ([i.correct for i in group if i.multiple_choice is mc] for mc in (True, False))
        rows.append(
            f"| {name} | {len(group)} | {_percent(choice)} | {_percent(free)} | "
            f"{_percent([i.format_ok for i in group])} | {sum(i.iou for i in group) / len(group):.3f} |"
        )
    rows.append(f"| (chance) | | {100 / CHOICES:.1f} | {_commonest(items)} | | |")
    rows += ["", "| kind of question, 8 s clips | multiple choice % | open % |", "|---|---|---|"]
    usual = [item for item in items if item.set == items[0].set]
    for kind in sorted({item.kind for item in usual}):
        both = ([i.correct for i in usual if i.kind == kind and i.multiple_choice is mc] for mc in (True, False))
        rows.append(f"| {kind} | " + " | ".join(f"{_percent(part)} (n={len(part)})" for part in both) + " |")
    return "\n".join(rows)


def _commonest(items: Sequence[Item]) -> str:
    """Returns the score, on the first set, of always giving the most frequent answer to each kind of open question."""
    free = [item for item in items if item.set == items[0].set and not item.multiple_choice]
    kinds = {item.kind: Counter(i.expected for i in free if i.kind == item.kind) for item in free}
    return f"{100 * sum(max(counts.values()) for counts in kinds.values()) / len(free):.1f}"


def _percent(values: Sequence[bool]) -> str:
    return f"{100 * sum(values) / len(values):.1f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint folder, or a GGUF file of it")
    parser.add_argument("--clips", type=int, default=1000, help="8 s test clips")
    parser.add_argument("--other", type=int, default=200, help="clips for the blind set and for the 6 to 24 s set")
    parser.add_argument("--work", type=Path, default=Path("build/tiny"), help="where table and answers go")
    options = parser.parse_args()
    sets = {
        "8 s": (range(options.clips), False),
        "6 to 24 s": (range(LONG_FIRST_CLIP, LONG_FIRST_CLIP + options.other), False),
        "8 s, another clip's video": (range(options.other), True),
    }
    workers = os.cpu_count() or 1
    items: list[Item] = []
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(_work, str(options.folder), clips[part::workers], name, blind)
            for name, (clips, blind) in sets.items()
            for part in range(workers)
        ]
        for job in jobs:
            items += job.result()
    options.work.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(item)) for item in items]
    (options.work / "answers.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.work / "scores.md").write_text(table(items) + "\n", encoding="utf-8")
    print(table(items))


if __name__ == "__main__":
    main()
