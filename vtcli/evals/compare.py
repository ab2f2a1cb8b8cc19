"""Compares two models answer by answer on the same questions: which is better, by how much, and is that noise?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.errors import DataError
from vtcli.evals.predictions import read_predictions
from vtcli.evals.runs import open_run
from vtcli.evals.scores import Scored, judge_all
from vtcli.evals.statistics import Paired, holm, paired
from vtcli.video.text import shown

SCHEMA = "vt.compare/1"
SURE = 0.05


@dataclass(frozen=True)
class Side:
    """One model's judged replies. `frames` is the choice of frames that is compared, None for a file."""

    name: str
    frames: Any
    scored: tuple[Scored, ...]


def side(path: Path, frames: str | None, rules: Sequence[str]) -> Side:
    """Reads a file of predictions, or one choice of frames of a run's folder. Raises DataError."""
    if not path.is_dir():
        judged = judge_all(read_predictions(path), rules)
        if judged.troubles:
            raise DataError(f"{shown(path)}, {judged.troubles[0]}")
        return Side(path.name, None, judged.scored)
    run = open_run(path)
    chosen = [each for each in run.frames if frames is None or str(each) == frames]
    if len(chosen) != 1:
        choices = ", ".join(map(str, run.frames))
        raise DataError(f"{shown(path)} was run with {choices} frames: say which to compare with --frames")
    return Side(run.name, chosen[0], judge_all(run.predictions(chosen[0], run.answers()), rules).scored)


def compare(a: Side, b: Side) -> dict[str, Any]:
    """Returns `vt.compare/1` (docs/schema/compare.schema.json). Raises DataError if their questions differ."""
    ours, theirs = _by_question(a), _by_question(b)
    common = [id for id in ours if id in theirs]
    if not common:
        raise DataError("the two have no question in common: their ids differ, they are of different benchmarks")
    for id in common:
        if ours[id][0].truth != theirs[id][0].truth:
            raise DataError(
                f"the question {shown(id)} has the answer {shown(ours[id][0].truth)} in the one and "
                f"{shown(theirs[id][0].truth)} in the other: these are not the same questions"
            )
    whole = _paired(common, ours, theirs)
    by_category: dict[str, list[str]] = defaultdict(list)
    for id in common:
        for category in ours[id][0].categories:
            by_category[category].append(id)
    parts = {name: _paired(ids, ours, theirs) for name, ids in sorted(by_category.items())}
    adjusted = holm([part.p for part in parts.values()])
    return {
        "schema": SCHEMA,
        "a": _side_record(a, common, ours),
        "b": _side_record(b, common, theirs),
        "common": len(common),
        **whole.as_json(),
        "verdict": _verdict(whole),
        "by_category": {
            name: {**part.as_json(), "p_holm": p} for (name, part), p in zip(parts.items(), adjusted, strict=True)
        },
    }


def _by_question(one: Side) -> dict[str, list[Scored]]:
    found: dict[str, list[Scored]] = defaultdict(list)
    for item in one.scored:
        found[item.id].append(item)
    return found


def _paired(ids: Sequence[str], ours: dict[str, list[Scored]], theirs: dict[str, list[Scored]]) -> Paired:
    known = all(ours[id][0].video is not None for id in ids)
    videos = [ours[id][0].video for id in ids] if known else None
    return paired([_mean(ours[id]) for id in ids], [_mean(theirs[id]) for id in ids], videos)


def _mean(replies: Sequence[Scored]) -> float:
    """Returns the mean score of the samples of one answer."""
    return sum(item.score for item in replies) / len(replies)


def _side_record(one: Side, common: Sequence[str], scored: dict[str, list[Scored]]) -> dict[str, Any]:
    return {
        "name": one.name,
        "frames": one.frames,
        "n": len(scored),
        "accuracy": round(100 * sum(_mean(scored[id]) for id in common) / len(common), 4),
    }


def _verdict(whole: Paired) -> str:
    """Returns "a", "b" or "unclear"; a verdict requires both the test and the interval."""
    low, high = whole.interval or (-1.0, 1.0)
    if whole.p < SURE and low > 0:
        return "b"
    return "a" if whole.p < SURE and high < 0 else "unclear"
