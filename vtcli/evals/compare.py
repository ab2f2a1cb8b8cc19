"""Compares two models answer by answer on the same questions: which is better, by how much, and is that noise?

Answers to questions are right or wrong; the times of grounding tasks are compared by their overlap with the true ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.errors import DataError
from vtcli.evals.predictions import Prediction, Trouble, read_predictions
from vtcli.evals.runs import open_run
from vtcli.evals.scores import Scored, judge_all
from vtcli.evals.statistics import Paired, holm, paired
from vtcli.video.text import shown

SCHEMA = "vt.compare/1"
SURE = 0.05


@dataclass(frozen=True)
class Side:
    """One model's judged replies. `kind`: of the benchmark; `frames`: the choice that is compared, None for a file."""

    name: str
    kind: str
    frames: Any
    scored: tuple[Scored, ...]


def side(path: Path, frames: str | None, rules: Sequence[str]) -> Side:
    """Reads a file of predictions, or one choice of frames of a run's folder. Raises DataError."""
    if not path.is_dir():
        predictions = list(read_predictions(path))
        judged = judge_all(predictions, rules)
        if judged.troubles:
            raise DataError(f"{shown(path)}, {judged.troubles[0]}")
        return Side(path.name, _kind(predictions), None, judged.scored)
    run = open_run(path)
    if run.config["kind"] == "captioning":
        raise DataError(f"{shown(path)}: captions are not compared answer by answer; vt eval report gives their scores")
    chosen = [each for each in run.frames if frames is None or str(each) == frames]
    if len(chosen) != 1:
        choices = ", ".join(map(str, run.frames))
        raise DataError(f"{shown(path)} was run with {choices} frames: say which to compare with --frames")
    scored = judge_all(run.predictions(chosen[0], run.answers()), rules).scored
    return Side(run.name, run.config["kind"], chosen[0], scored)


def _kind(predictions: Sequence[Prediction | Trouble]) -> str:
    """Tells a file's kind: in one of grounding every answer is the first true span, as such runs write it."""
    for each in predictions:
        if isinstance(each, Trouble) or not each.times or each.gold.text != "{:g}-{:g}".format(*each.times[0]):
            return "choice"
    return "grounding"


def compare(a: Side, b: Side) -> dict[str, Any]:
    """Returns `vt.compare/1` (docs/schema/compare.schema.json). Raises DataError if their questions differ."""
    if a.kind != b.kind:
        raise DataError(f"these are not the same questions: the one is a {a.kind} run, the other a {b.kind} run")
    metric = "miou" if a.kind == "grounding" else "accuracy"
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
    whole = _paired(common, ours, theirs, metric)
    by_category: dict[str, list[str]] = defaultdict(list)
    for id in common:
        for category in ours[id][0].categories:
            by_category[category].append(id)
    parts = {name: _paired(ids, ours, theirs, metric) for name, ids in sorted(by_category.items())}
    adjusted = holm([part.p for part in parts.values()])
    return {
        "schema": SCHEMA,
        "metric": metric,
        "a": _side_record(a, common, ours, metric),
        "b": _side_record(b, common, theirs, metric),
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


def _paired(ids: Sequence[str], ours: dict[str, list[Scored]], theirs: dict[str, list[Scored]], metric: str) -> Paired:
    known = all(ours[id][0].video is not None for id in ids)
    videos = [ours[id][0].video for id in ids] if known else None
    a, b = ([_mean(side[id], metric) for id in ids] for side in (ours, theirs))
    return paired(a, b, videos, graded=metric == "miou")


def _mean(replies: Sequence[Scored], metric: str) -> float:
    """Returns the mean score of the samples of one answer; for times, their mean best IoU over the true spans."""
    if metric == "accuracy":
        return sum(item.score for item in replies) / len(replies)
    best = [iou for item in replies if item.grounding for iou in item.grounding.best]
    return sum(best) / len(best) if best else 0.0


def _side_record(one: Side, common: Sequence[str], scored: dict[str, list[Scored]], metric: str) -> dict[str, Any]:
    return {
        "name": one.name,
        "frames": one.frames,
        "n": len(scored),
        metric: round(100 * sum(_mean(scored[id], metric) for id in common) / len(common), 4),
    }


def _verdict(whole: Paired) -> str:
    """Returns "a", "b" or "unclear"; a verdict requires both the test and the interval."""
    low, high = whole.interval or (-1.0, 1.0)
    if whole.p < SURE and low > 0:
        return "b"
    return "a" if whole.p < SURE and high < 0 else "unclear"
