"""Statistical uncertainty: bootstrap intervals, paired tests between models, correction for multiple comparisons.

Questions about one video are not independent, so videos, where known, are resampled instead of questions. The seed is
fixed: the same predictions give the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 20251027
_KINDS = 64
_RESAMPLED = 2000  # clusters
_AT_ONCE = 500  # resamples


def mean_interval(
    scores: Sequence[float], clusters: Sequence[Hashable] | None = None, share: bool = True
) -> tuple[float, float] | None:
    """Returns the 95 % percentile bootstrap interval of the mean score; None for fewer than two scores (or clusters).

    `clusters` says which scores belong together (the video); without it, each score is a cluster. Clusters are of one
    kind if they have equal sums and sizes. For more than 2,000 clusters of more than 64 kinds the limit of the
    bootstrap, the normal distribution, is used. If all resamples are equal, because all answers are right or all are
    wrong, the interval of a `share` is Wilson's.
    """
    import numpy as np

    sums = np.asarray(scores, float)
    counts = np.ones_like(sums)
    if clusters is not None:
        sums, counts = _by_cluster(sums, clusters)
    if len(sums) < 2:
        return None
    tails = (1 - LEVEL) / 2
    if (counts == 1).all():  # a plain sort is faster
        alone, sizes = np.unique(sums, return_counts=True)
        kinds = np.stack([alone, np.ones_like(alone)])
    else:
        kinds, sizes = np.unique(np.stack([sums, counts]), axis=1, return_counts=True)
    rng = np.random.default_rng(SEED)
    if kinds.shape[1] <= _KINDS:  # draws equal clusters together: same result, instant
        totals = kinds @ rng.multinomial(len(sums), sizes / len(sums), size=RESAMPLES).T
    elif len(sums) <= _RESAMPLED:
        totals = _resampled(np.stack([sums, counts]), rng)
    else:
        mean = sums.sum() / counts.sum()
        spread = np.sqrt(((sums - mean * counts) ** 2).sum()) / counts.sum()
        reach = NormalDist().inv_cdf(1 - tails) * spread
        return float(mean - reach), float(mean + reach)
    low, high = np.quantile(totals[0] / totals[1], [tails, 1 - tails])
    if low == high and share and set(scores) <= {0.0, 1.0}:
        return _wilson(sums.sum() / counts.sum(), len(sums))
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """How model B's scores differ from model A's on the same questions.

    `difference`: mean score of B minus that of A; `interval`: its 95 % paired bootstrap interval, None for fewer than
    two questions or videos. `only_a`, `only_b`: questions that only A or only B got right. `p`: exact McNemar test,
    two-sided. Graded scores are neither right nor wrong: `only_a` and `only_b` are None, `p` is that of `flip_test`.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    only_a: int | None
    only_b: int | None
    p: float

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "difference": round(100 * self.difference, 4),
            "interval": percent(self.interval),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "p": self.p,
        }


def paired(
    a: Sequence[float], b: Sequence[float], clusters: Sequence[Hashable] | None = None, graded: bool = False
) -> Paired:
    """Compares two models' scores, question by question (at least one)."""
    differences = [after - before for before, after in zip(a, b, strict=True)]
    only_a = sum(before > 0.5 >= after for before, after in zip(a, b, strict=True))
    only_b = sum(after > 0.5 >= before for before, after in zip(a, b, strict=True))
    mean = sum(differences) / len(differences)
    interval = mean_interval(differences, clusters, share=False)
    if graded:
        return Paired(len(a), mean, interval, None, None, flip_test(differences, clusters))
    return Paired(len(a), mean, interval, only_a, only_b, mcnemar(only_a, only_b))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test: the probability of a split at least as uneven if both were equally good."""
    n, few = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    tail = term = 1
    for k in range(1, few + 1):  # sum of binomial coefficients, in integers
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, float(Fraction(tail, 2 ** (n - 1))))


def flip_test(differences: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Paired permutation test, two-sided: how often the sum of the differences is as far from 0 with random signs.

    McNemar's test for scores between 0 and 1. The differences of one cluster change their sign together.
    """
    import numpy as np

    sums = np.asarray(differences, float)
    if clusters is not None:
        sums, _ = _by_cluster(sums, clusters)
    rng = np.random.default_rng(SEED)
    least = abs(sums.sum()) - 1e-9  # sums in another order round differently
    as_far = 0
    for _ in range(0, RESAMPLES, _AT_ONCE):
        signs = rng.integers(0, 2, size=(_AT_ONCE, len(sums)), dtype=np.int8) * 2 - 1
        as_far += int((abs(signs @ sums) >= least).sum())
    return (as_far + 1) / (RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: below 0.05, a category differs even though many were tested."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def pass_at_k(right: int, n: int, k: int) -> float:
    """Probability that `k` replies drawn from `n`, with `right` right ones, include a right one (Chen et al. 2021)."""
    return 1.0 - comb(n - right, k) / comb(n, k)


def percent(interval: tuple[float, float] | None) -> list[float] | None:
    """Converts an interval of shares to percent, for JSON."""
    return None if interval is None else [round(100 * end, 4) for end in interval]


def _wilson(share: float, n: int) -> tuple[float, float]:
    far = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2
    middle, reach = (share + far / (2 * n)) / (1 + far / n), sqrt(far * (share * (1 - share) / n + far / (4 * n * n)))
    return max(0.0, middle - reach / (1 + far / n)), min(1.0, middle + reach / (1 + far / n))


def _resampled(columns: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Sums of the rows of `columns` (2, n) over resamples of its columns: (2, RESAMPLES)."""
    import numpy as np

    n = columns.shape[1]
    parts = []
    for start in range(0, RESAMPLES, _AT_ONCE):
        drawn = rng.integers(0, n, size=(min(_AT_ONCE, RESAMPLES - start), n))
        parts.append(columns[:, drawn].sum(axis=2))
    return np.concatenate(parts, axis=1)


def _by_cluster(scores: NDArray[Any], clusters: Sequence[Hashable]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the sum and the number of scores of each cluster."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    which = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    return np.bincount(which, weights=scores), np.bincount(which).astype(float)
