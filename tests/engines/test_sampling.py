from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

from vtcli.engines.base import SamplingOptions
from vtcli.engines.sampling import Sampler
from vtcli.errors import UsageError


def kept_by_transformers(logits: np.ndarray[Any, Any], temperature: float, top_p: float) -> set[int]:
    torch = pytest.importorskip("torch")
    warpers = pytest.importorskip("transformers").generation.logits_process
    scores = warpers.TemperatureLogitsWarper(temperature)(None, torch.from_numpy(logits)[None])
    scores = warpers.TopPLogitsWarper(top_p)(None, scores)[0]
    return set(torch.isfinite(scores).nonzero().flatten().tolist())


@pytest.mark.parametrize("top_p", [0.001, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("temperature", [0.1, 0.7, 2.0])
def test_draws_what_transformers_keeps(temperature: float, top_p: float) -> None:
    logits = (np.random.default_rng(0).standard_normal(12) * 2).astype(np.float32)
    sample = Sampler(SamplingOptions(temperature=temperature, top_p=top_p, seed=0))
    drawn = collections.Counter(sample(logits) for _ in range(6000))
    kept = kept_by_transformers(logits, temperature, top_p)
    assert set(drawn) <= kept
    weights = np.exp((logits - logits.max()) / temperature)
    total = sum(float(weights[token]) for token in kept)
    for token in kept:
        assert drawn[token] / 6000 == pytest.approx(float(weights[token]) / total, abs=0.03)


def test_greedy_at_zero_and_nearly_zero() -> None:
    logits = np.array([1.0, 3.0, 2.9], np.float32)
    for temperature in (0.0, 1e-30):
        assert Sampler(SamplingOptions(temperature=temperature, top_p=1.0))(logits) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"temperature": -0.1}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"temperature": float("inf")}, "--temperature"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.01}, "--top-p"),
    ],
)
def test_options_out_of_range(options: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        SamplingOptions(**options)  # type: ignore[arg-type]
