"""Overlap of predicted and true time spans, as the paper, CG-Bench, NExT-GQA and QVHighlights define it.

A span is (start, end) in seconds, start ≤ end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

Span = tuple[float, float]

CG_BENCH_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
QVHIGHLIGHTS_MOST = 10
"""Number of a reply's ranked spans that count; later ones are ignored."""
QVHIGHLIGHTS_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def iou(one: Span, other: Span) -> float:
    """Returns the intersection over union of two spans, 0 to 1; 0 if one has no length."""
    if one[1] <= other[0] or other[1] <= one[0]:  # most pairs
        return 0.0
    shared = min(one[1], other[1]) - max(one[0], other[0])
    if shared <= 0:
        return 0.0
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)


def best_ious(told: Sequence[Span], truth: Sequence[Span]) -> list[float]:
    """Returns the best IoU of any predicted span for each true span, 0 without one (the paper's mIoU is the mean)."""
    return [max([iou(true, span) for span in told], default=0.0) for true in truth]


def union_iou(told: Sequence[Span], truth: Sequence[Span]) -> float:
    """Returns the IoU of all predicted spans with all true spans (CG-Bench's mIoU is its mean over the questions)."""
    ours, theirs = _merged(told), _merged(truth)
    shared = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in ours for b in theirs)
    whole = _length(ours) + _length(theirs) - shared
    return shared / whole if whole > 0 else 0.0


def iop(told: Span, truth: Span) -> float:
    """Returns the share of a predicted span that is true (NExT-GQA's IoP); for an instant, whether it lies within."""
    if told[0] == told[1]:
        return float(truth[0] <= told[0] <= truth[1])
    return max(0.0, min(told[1], truth[1]) - max(told[0], truth[0])) / (told[1] - told[0])


def average_precision(told: Sequence[Span], truth: Sequence[Span], threshold: float) -> float:
    """Returns the interpolated average precision of ranked spans, best first, at one IoU threshold (QVHighlights).

    Each true span is matched once, by the first predicted span that overlaps it enough.
    """
    if not told or not truth:
        return 0.0
    free = set(range(len(truth)))
    hits: list[bool] = []
    for span in told:
        near = [(overlap, i) for i, true in enumerate(truth) if (overlap := iou(span, true)) >= threshold]
        found = next((i for _, i in sorted(near, reverse=True) if i in free), None)
        hits.append(found is not None)
        if found is not None:
            free.remove(found)
    precisions = [right / rank for rank, right in enumerate(accumulate(hits), 1)]
    total = best = 0.0
    for hit, precision in zip(reversed(hits), reversed(precisions), strict=True):
        best = max(best, precision)  # interpolated: the best at this rank or any later one
        total += best * hit
    return total / len(truth)


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _length(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)
