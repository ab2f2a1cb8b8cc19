"""Intervals and tests against brute force and known values."""

from __future__ import annotations

import random
from itertools import product
from math import comb, sqrt

import pytest

from vtcli.evals import statistics
from vtcli.evals.statistics import holm, mcnemar, mean_interval, paired, pass_at_k


def brute(scores: list[float], clusters: list[int], resamples: int = 4000) -> tuple[float, float]:
    rng = random.Random(1)
    groups: dict[int, list[float]] = {}
    for score, cluster in zip(scores, clusters, strict=True):
        groups.setdefault(cluster, []).append(score)
    names = list(groups)
    means = []
    for _ in range(resamples):
        drawn = [score for name in rng.choices(names, k=len(names)) for score in groups[name]]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    return means[int(0.025 * resamples)], means[int(0.975 * resamples)]


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_interval_is_the_bootstraps(continuous: bool, clustered: bool) -> None:
    rng = random.Random(0)
    clusters = [number // 4 if clustered else number for number in range(120)]
    lean = {cluster: rng.random() for cluster in clusters}
    scores = [rng.random() * lean[c] if continuous else float(rng.random() < lean[c]) for c in clusters]
    found = mean_interval(scores, clusters if clustered else None)
    assert found == pytest.approx(brute(scores, clusters), abs=0.012)
    assert found == mean_interval(scores, clusters if clustered else None)  # the same every time


def test_videos_make_intervals_wider() -> None:
    scores = [float(n // 10 % 2) for n in range(400)]  # ten equal answers a video
    alone, together = mean_interval(scores), mean_interval(scores, [n // 10 for n in range(400)])
    assert alone and together
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(sqrt(10), rel=0.1)


def test_the_limit_for_many_clusters_agrees_with_resampling(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    scores = [rng.random() for _ in range(1500)]
    clusters = [n // 2 for n in range(1500)]
    resampled = mean_interval(scores, clusters)
    monkeypatch.setattr(statistics, "_RESAMPLED", 1)
    assert mean_interval(scores, clusters) == pytest.approx(resampled, abs=0.002)


def test_too_few_for_an_interval() -> None:
    assert mean_interval([]) is mean_interval([1.0]) is mean_interval([1.0, 0.0], ["v", "v"]) is None


def test_all_right_is_not_sure_to_be() -> None:
    assert mean_interval([1.0] * 4) == pytest.approx((0.5101, 1.0), abs=1e-4)  # Wilson, 4 of 4
    assert mean_interval([0.0] * 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert mean_interval([0.0] * 20, list("ab" * 10)) == pytest.approx((0.0, 0.6576), abs=1e-4)
    assert mean_interval([0.4] * 20) == pytest.approx((0.4, 0.4))
    assert mean_interval([0.0, 1.0] * 2, list("aabb")) == pytest.approx(
        (0.0945, 0.9055), abs=1e-4
    )  # each video the same
    assert paired([1.0] * 9, [1.0] * 9).interval == (0, 0)


def test_mcnemar() -> None:
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1
    for a, b in product(range(8), repeat=2):
        if a + b:
            exact = min(1.0, 2 * sum(comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b))
            assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(exact)
    assert mcnemar(10, 25) == pytest.approx(0.016674, abs=1e-6)  # scipy.stats.binomtest(10, 35).pvalue, 1.16
    assert 0 < mcnemar(2000, 2500) < 1e-10


def test_the_flip_test_is_mcnemars_where_scores_are_right_or_wrong() -> None:
    for only_a, only_b in ((0, 0), (3, 9), (10, 25), (0, 2), (1, 8)):
        a = [1.0] * only_a + [0.0] * only_b + [1.0] * 20
        b = [0.0] * only_a + [1.0] * only_b + [1.0] * 20
        found = paired(a, b, graded=True)
        assert found.p == pytest.approx(mcnemar(only_a, only_b), abs=0.015)
        assert found.only_a is None and found == paired(a, b, graded=True)


def test_the_flip_test_flips_videos() -> None:
    same = paired([0.1] * 40, [0.9] * 40, [n // 20 for n in range(40)], graded=True)
    assert same.p == pytest.approx(0.5, abs=0.02)  # two videos: half of the flips are as far off


def test_paired() -> None:
    a, b = [1.0, 1, 0, 0, 0, 0], [1.0, 0, 1, 1, 1, 0]
    found = paired(a, b)
    assert (found.n, found.only_a, found.only_b, found.p) == (6, 1, 3, 0.625)
    assert found.difference == pytest.approx(2 / 6)
    assert found.interval and found.interval[0] < 0 < found.interval[1]
    with pytest.raises(ValueError):
        paired([1.0], [1.0, 0.0])


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1, 1] and holm([]) == []


def test_pass_at_k() -> None:
    assert pass_at_k(0, 5, 3) == 0 and pass_at_k(5, 5, 1) == 1 and pass_at_k(3, 5, 3) == 1
    assert pass_at_k(2, 5, 1) == pytest.approx(0.4)
    assert pass_at_k(1, 4, 2) == pytest.approx(0.5)
