"""Liger's kernels compute what the plain model does, as far as Triton's interpreter can run them.

Needs triton and liger-kernel, which come with no extra that is tested: `pip install triton==3.6.0 liger-kernel`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

from tests.e2e.conftest import ROOT
from vtcli.errors import UsageError
from vtcli.train.job import Job
from vtcli.train.recipe_file import load_recipe
from vtcli.train.run import run as train

#: In a process of its own: kernels are interpreted from the start, and the family's classes are replaced for good.
INTERPRETED = """
import numpy as np
import torch
import triton.language as tl
import triton.runtime.interpreter as interpreter

# Two things the interpreter lacks: numbers with a point given to a kernel, and functions of libdevice.
given = interpreter._implicit_cvt
def number(value):
    if isinstance(value, float):
        return tl.tensor(interpreter.TensorHandle(np.array([value], np.float32), tl.float32), tl.float32)
    return given(value)
interpreter._implicit_cvt = number
import liger_kernel.ops.rms_norm as norms
norms.rsqrt = lambda value: 1.0 / tl.sqrt(value)

import dataclasses
from vtcli.models.checkpoint import open_checkpoint
from vtcli.train.batches import IGNORED, shared_batch
from vtcli.train.encode import Encoder
from vtcli.train.frames import Clip
from vtcli.train.model import load_for_training
from vtcli.train.recipe_file import load_recipe
from vtcli.train.shared import use_shared

recipe, checkpoint = load_recipe("tiny"), open_checkpoint("tiny")
encoder = Encoder.of(checkpoint, recipe, None)
pixels = np.random.default_rng(0).integers(0, 256, (4, 56, 56, 3), np.uint8)
prompt = encoder.encode([*range(40, 48), checkpoint.video_token_id, *range(50, 58)], [Clip(pixels, 1.5)])
completions = [torch.arange(60, 66), torch.arange(70, 74)]

def computed(recipe):
    model = load_for_training(checkpoint, recipe)
    use_shared(model)
    batch = shared_batch([prompt], [completions], 0)
    labels = batch.pop("shift_labels")
    logps = model(**batch).logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0][labels != IGNORED]
    logps.sum().backward()
    return logps.detach(), {name: weight.grad for name, weight in model.named_parameters()}

logps, gradients = computed(recipe)
own, others = computed(dataclasses.replace(recipe, liger=True))
assert (logps != own).any(), "nothing was replaced"
assert (logps - own).abs().max() < 1e-4, (logps - own).abs().max()
for name, gradient in gradients.items():
    assert (gradient - others[name]).abs().max() < 1e-4 * gradient.abs().max() + 1e-6, name
print(float((logps - own).abs().max()))
"""


@pytest.mark.slow
def test_log_probabilities_and_gradients_are_the_plain_models() -> None:
    pytest.importorskip("triton")
    pytest.importorskip("liger_kernel")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


def test_a_machine_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtcli.train.run._has_gpu", lambda: False)
    with pytest.raises(UsageError, match="liger: its kernels are Triton's and need a GPU"):
        train(Job(load_recipe("tiny", ["liger=true"]), tmp_path / "out"))
