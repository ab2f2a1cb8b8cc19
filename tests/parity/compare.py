"""A case as vt computes it, and how far two computations of one case are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.parity.cases import Case
from tests.parity.runs import TOKENS, Model
from vtcli import ask
from vtcli.engines.base import Request, SamplingOptions
from vtcli.engines.reply import Steps
from vtcli.engines.transformers import TransformersEngine
from vtcli.video.patches import patchify

if TYPE_CHECKING:
    from vtcli.engines.llama_cpp import LlamaCppEngine

Arrays = Mapping[str, Any]
"""indices, size, input_ids, positions, pixels, logits and tokens of a case, as reference.py writes them."""


@dataclass(frozen=True)
class Difference:
    """`pixels`: levels of 255, the most; `kl`: of the first new token's distribution, from the reference's."""

    indices: bool
    size: bool
    input_ids: bool
    positions: bool
    pixels: float
    kl: float
    top: bool
    tokens: bool


def compare(reference: Arrays, other: Arrays) -> Difference:
    """Where an equality is asked for, True is equal; pixels of other sizes are infinitely far apart."""
    same = {key: np.array_equal(reference[key], other[key]) for key in ("indices", "size", "input_ids", "positions")}
    one, two = reference["pixels"], other["pixels"]
    pixels = float(np.abs(one.astype(int) - two).max()) if one.shape == two.shape else float("inf")
    kl, top = divergence(reference["logits"], other["logits"])
    return Difference(
        **same, pixels=pixels, kl=kl, top=top, tokens=np.array_equal(reference["tokens"], other["tokens"])
    )


def divergence(reference: Any, other: Any) -> tuple[float, bool]:
    """KL(reference ‖ other) in nats of two rows of logits, in float64; and whether the likeliest token is one."""
    one, two = (row.astype(np.float64) - row.max() for row in (reference, other))
    one, two = (row - np.log(np.exp(row).sum()) for row in (one, two))
    return float((np.exp(one) * (one - two)).sum()), bool(one.argmax() == two.argmax())


def request_of(case: Case, folder: Path, model: Model) -> tuple[ask.Plan, Request]:
    """What vt would give an engine for the case."""
    question = ask.Question(
        folder / f"{case.clip}.mp4",
        case.question,
        model.path,
        case.choices,
        frames=case.frames,
        fps=case.fps,
        start=case.start,
        end=case.end,
        max_pixels=model.max_pixels,
        sampling=SamplingOptions(max_tokens=TOKENS, temperature=0.0),
    )
    plan = ask.prepare(question)
    return plan, ask.read(plan)[1]


def ours(engine: TransformersEngine | LlamaCppEngine, case: Case, folder: Path, model: Model) -> dict[str, Any]:
    """The arrays of a case as vt computes them, on an open engine of the same model."""
    plan, request = request_of(case, folder, model)
    checkpoint, layout = plan.checkpoint, request.layout
    patches, _ = patchify(request.pixels, checkpoint.image_mean, checkpoint.image_std)
    mean, std = (
        np.repeat(np.asarray(v, np.float32), patches.shape[1] // 3)
        for v in (checkpoint.image_mean, checkpoint.image_std)
    )
    logits, generated = greedy(engine, request, checkpoint.eos_token_ids)
    return {
        "indices": np.asarray(plan.frames.indices),
        "size": np.asarray([plan.frames.height, plan.frames.width]),
        "input_ids": layout.input_ids,
        "positions": layout.positions,
        "pixels": np.rint((patches * std + mean) * 255).astype(np.uint8),
        "logits": logits,
        "tokens": np.asarray(generated),
    }


def greedy(
    engine: TransformersEngine | LlamaCppEngine, request: Request, ends: tuple[int, ...]
) -> tuple[Any, list[int]]:
    """Logits of the first new token and the ids that the engine's own steps give, the ending one included."""
    logits, steps = begin(engine, request)
    first, tokens = logits, list[int]()
    while True:
        tokens.append(int(logits.argmax()))
        if tokens[-1] in ends or len(tokens) == request.sampling.max_tokens:
            return first, tokens
        logits = steps.run(tokens[-1:])[0]


def begin(engine: TransformersEngine | LlamaCppEngine, request: Request) -> tuple[Any, Steps]:
    """Has the engine read the prompt anew: logits of the first new token, and what goes on from there."""
    engine._recall.forget()
    reader: Any = engine._reader_for(request)
    reader.restart()
    return engine._read(request, engine._prefix(request), engine._encode(request), reader), reader
