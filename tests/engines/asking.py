"""What the tests of engines ask, and how: one request about random frames, and ways to have it answered."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np

from vtcli.engines.base import Request, SamplingOptions
from vtcli.engines.decoder import Decoder
from vtcli.engines.transformers import TransformersEngine
from vtcli.layout import build_layout
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import Prompt

GRID = (4, 8, 12)


def make_engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(open_checkpoint(folder), Tokenizer(folder), "cpu")


def make_request(folder: Path, **sampling: Any) -> Request:
    checkpoint = open_checkpoint(folder)
    _, ids = Tokenizer(folder).encode_prompt(Prompt("You are an expert.", "Why did the blue square leave?"))
    layout = build_layout(ids, GRID, 3.75, video_token_id=checkpoint.video_token_id, tokens_per_second=2)
    shape = (2 * GRID[0], 14 * GRID[1], 14 * GRID[2], 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Request(layout, pixels, 3.75, SamplingOptions(**{"max_tokens": 32, "temperature": 0.0} | sampling))


def with_sampling(request: Request, **changes: Any) -> Request:
    return dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, **changes))


def filled(engine: TransformersEngine, request: Request, decoder: Decoder) -> Any:
    """The first logits, with a decoder that has read the prompt anew."""
    engine._recall.forget()
    decoder.restart()
    return engine._read(request, engine._prefix(request), engine._encode(request), decoder)


def interrupted(script: str) -> tuple[subprocess.Popen[str], float]:
    """Runs `script` until it prints "x", then sends Ctrl-C: the process, and when that was on the monotonic clock."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "x\n"
    process.send_signal(signal.SIGINT)
    return process, time.monotonic()
