"""Turns predictions into scores: judges each reply separately, and aggregates the verdicts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vtcli.errors import DataError
from vtcli.evals.predictions import Prediction, Trouble
from vtcli.evals.statistics import mean_interval, pass_at_k, percent
from vtcli.garbage import without_collection
from vtcli.scoring.elements import told_times
from vtcli.scoring.official import judge
from vtcli.scoring.rules import Verdict, vote
from vtcli.scoring.spans import (
    CG_BENCH_THRESHOLDS,
    QVHIGHLIGHTS_MOST,
    QVHIGHLIGHTS_THRESHOLDS,
    Span,
    average_precision,
    best_ious,
    iop,
    union_iou,
)
from vtcli.trace.format import format_ok

SCHEMA = "vt.score/1"
PAPER_RECALLS = (0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Grounding:
    """Predicted times compared with the true spans.

    `best`: for each true span, the best IoU of any predicted time. `first`: the best IoU of the first predicted time
    with any true span, and `inside` its best IoP. `union`: the IoU of all predicted times with all true spans.
    `precision`: QVHighlights' average precision. `told`: the number of predicted times.
    """

    best: tuple[float, ...]
    first: float
    inside: float
    union: float
    precision: float
    told: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One judged reply: a verdict by each requested rule, in their order; the first one counts."""

    id: str
    sample: int
    video: str | None
    categories: tuple[str, ...]
    truth: str
    verdicts: tuple[Verdict, ...]
    format_ok: bool
    length: int
    grounding: Grounding | None

    @property
    def score(self) -> float:
        return self.verdicts[0].score

    @property
    def answer(self) -> str | None:
        return self.verdicts[0].answer


@dataclass(frozen=True)
class Judged:
    """All judged replies of a file or run, in the order of their first appearance, with duplicates and broken lines."""

    rules: tuple[str, ...]
    scored: tuple[Scored, ...]
    duplicates: int = 0
    troubles: tuple[Trouble, ...] = ()


def judge_all(predictions: Iterable[Prediction | Trouble], rules: Sequence[str]) -> Judged:
    """Judges every prediction by each of `rules`. If several have the same id (and sample), the last one counts."""
    found: dict[tuple[str, int], Scored] = {}
    troubles: list[Trouble] = []
    given = 0
    with without_collection():
        for prediction in predictions:
            if isinstance(prediction, Trouble):
                troubles.append(prediction)
            else:
                given += 1
                found[prediction.id, prediction.sample] = judge_one(prediction, rules)
    return Judged(tuple(rules), tuple(found.values()), given - len(found), tuple(troubles))


def judge_one(prediction: Prediction, rules: Sequence[str]) -> Scored:
    """Judges one prediction by each of `rules`."""
    reply = prediction.response or ""
    return Scored(
        id=prediction.id,
        sample=prediction.sample,
        video=prediction.video,
        categories=prediction.categories,
        truth=str(prediction.gold),
        verdicts=tuple(judge(rule, reply, prediction.gold) for rule in rules),
        format_ok=format_ok(reply),
        length=len(reply),
        grounding=ground(reply, prediction.times) if prediction.times else None,
    )


def ground(reply: str, truth: Sequence[Span]) -> Grounding:
    """Compares the times in a reply with the true spans."""
    told = told_times(reply)
    best = best_ious(told, truth)
    most = max(best)
    reached = [threshold for threshold in QVHIGHLIGHTS_THRESHOLDS if threshold <= most]
    precision = sum(average_precision(told[:QVHIGHLIGHTS_MOST], truth, threshold) for threshold in reached)
    return Grounding(
        best=tuple(best),
        first=max(best_ious(told[:1], truth)) if most else 0.0,
        inside=max((iop(span, true) for span in told[:1] for true in truth), default=0.0),
        union=union_iou(told, truth),
        precision=precision / len(QVHIGHLIGHTS_THRESHOLDS),
        told=len(told),
    )


def score_record(judged: Judged) -> dict[str, Any]:
    """Returns `vt.score/1` (docs/schema/score.schema.json). Raises DataError where nothing could be scored."""
    scored = judged.scored
    if not scored:
        if judged.troubles:
            raise DataError(f"there is no prediction to score: {judged.troubles[0]}")
        raise DataError("there is no prediction to score: the file is empty")
    by_category: dict[str, list[Scored]] = defaultdict(list)
    for item in scored:
        for category in item.categories:
            by_category[category].append(item)
    return {
        "schema": SCHEMA,
        "extract": judged.rules[0],
        **accuracy_record(scored),
        "duplicates": judged.duplicates,
        "format_ok": _percent(sum(item.format_ok for item in scored), len(scored)),
        "length": _length_record(scored),
        "by_category": {name: accuracy_record(items) for name, items in sorted(by_category.items())},
        "by_extract": {
            rule: _percent(sum(item.verdicts[number].score for item in scored), len(scored))
            for number, rule in enumerate(judged.rules)
        },
        "samples": samples_record(scored),
        "grounding": grounding_record(scored),
        "errors": [trouble.as_json() for trouble in judged.troubles],
    }


def accuracy_record(scored: Sequence[Scored]) -> dict[str, Any]:
    """Counts the replies, the right ones (also in percent, with a 95 % interval) and the unreadable ones.

    `correct` has a fraction only where a scorer gives partial credit.
    """
    scores = [item.score for item in scored]
    correct = sum(scores)
    return {
        "n": len(scored),
        "correct": int(correct) if correct == int(correct) else round(correct, 6),
        "accuracy": _percent(correct, len(scored)),
        "interval": percent(mean_interval(scores, clusters(scored))),
        "unreadable": sum(item.answer is None for item in scored),
    }


def clusters(scored: Sequence[Scored]) -> list[str] | None:
    """Returns what is resampled together: the replies about one video, else those to one question.

    None where the videos are unknown and each question has one reply.
    """
    if all(item.video is not None for item in scored):
        return [item.video or "" for item in scored]
    return [item.id for item in scored] if any(item.sample for item in scored) else None


def grounding_record(scored: Sequence[Scored]) -> dict[str, Any] | None:
    """Returns the temporal grounding in percent; None where no question has true times.

    - `miou`, `r@…`: over all true spans, the best IoU of any predicted time (the paper).
    - `r1@…`: over questions, the IoU of the first predicted time with any true span (Charades-STA, QVHighlights).
    - `union_miou`: over questions, the IoU of all predicted times with all true spans.
    - `rec@iou`, `acc@iou`: the share of questions where that IoU reaches 0.1 … 0.5, averaged over the thresholds;
      `acc@iou` also requires a right answer (CG-Bench).
    - `map`: mean average precision at IoU 0.5 … 0.95 (QVHighlights), with the times ranked in the order written.
    - `miop`: the share of the first predicted time that is true; `acc@gqa`: right answers where at least half of that
      time is true (NExT-GQA).
    - `untimed`: replies without a time.
    """
    items = [(item, item.grounding) for item in scored if item.grounding is not None]
    if not items:
        return None
    best = [iou for _, grounding in items for iou in grounding.best]
    unions = [grounding.union for _, grounding in items]
    spread = [name for (item, grounding) in items for name in [item.video or item.id] * len(grounding.best)]
    steps = CG_BENCH_THRESHOLDS
    return {
        "n": len(items),
        "spans": len(best),
        "untimed": sum(not grounding.told for _, grounding in items),
        "miou": _percent(sum(best), len(best)),
        "miou_interval": percent(mean_interval(best, spread)),
        **{f"r@{level}": _percent(sum(iou >= level for iou in best), len(best)) for level in PAPER_RECALLS},
        **{
            f"r1@{level}": _percent(sum(grounding.first >= level for _, grounding in items), len(items))
            for level in PAPER_RECALLS
        },
        "union_miou": _percent(sum(unions), len(unions)),
        "rec@iou": _percent(sum(iou >= step for iou in unions for step in steps), len(unions) * len(steps)),
        "acc@iou": _percent(
            sum(item.score * (grounding.union >= step) for item, grounding in items for step in steps),
            len(unions) * len(steps),
        ),
        "map": _percent(sum(grounding.precision for _, grounding in items), len(items)),
        "miop": _percent(sum(grounding.inside for _, grounding in items), len(items)),
        "acc@gqa": _percent(sum(item.score * (grounding.inside >= 0.5) for item, grounding in items), len(items)),
    }


def samples_record(scored: Sequence[Scored]) -> dict[str, Any] | None:
    """Returns the statistics of repeated sampling: pass@k, majority accuracy and agreement; None without samples.

    Answers that differ in form only ("42", "42.0") vote together. A tie for the majority goes to the answer that came
    first; unreadable replies have no vote. `agreement`: the majority's share of the replies. `calibration`: the
    accuracy of the majority by that share.
    """
    if not any(item.sample for item in scored):
        return None
    questions: dict[str, list[Scored]] = defaultdict(list)
    for item in scored:
        questions[item.id].append(item)
    k = min(len(replies) for replies in questions.values())
    if k < 2:
        return None
    rights, shares = [], []
    for replies in questions.values():
        votes = [(vote(item.answer), item.score) for item in replies if item.answer is not None]
        winner, count = Counter(said for said, _ in votes).most_common(1)[0] if votes else ("", 0)
        rights.append(next((score for said, score in votes if said == winner), 0.0))
        shares.append(count / len(replies))
    passed = {
        str(count): _percent(
            sum(pass_at_k(sum(i.score >= 1 for i in replies), len(replies), count) for replies in questions.values()),
            len(questions),
        )
        for count in range(1, k + 1)
    }
    bands: dict[float, list[float]] = defaultdict(list)
    for share, right in zip(shares, rights, strict=True):
        bands[round(share, 2)].append(right)
    return {
        "questions": len(questions),
        "k": k,
        "pass": passed,
        "majority": _percent(sum(rights), len(rights)),
        "agreement": _percent(sum(shares), len(shares)),
        "calibration": [
            {"agreement": _percent(share, 1), "n": len(right), "accuracy": _percent(sum(right), len(right))}
            for share, right in sorted(bands.items())
        ],
    }


def _length_record(scored: Sequence[Scored]) -> dict[str, float]:
    """Returns the length of the replies in characters: mean, median and maximum."""
    lengths = sorted(item.length for item in scored)
    middle = len(lengths) // 2
    median = lengths[middle] if len(lengths) % 2 else (lengths[middle - 1] + lengths[middle]) / 2
    return {"mean": round(sum(lengths) / len(lengths), 1), "median": median, "most": lengths[-1]}


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 4)
