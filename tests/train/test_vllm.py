"""vLLM's completions are those of vt's own rollouts, before and after the weights change; what it must not do is seen.

`make vllm` runs these beside a real vLLM, on the embedded model in float32.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file

from tests.e2e.conftest import ROOT
from tests.train.test_run import finished, start
from vtcli.errors import EngineError, TrainError
from vtcli.layout import Shape, number
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.weights import published_name
from vtcli.train import checkpoints
from vtcli.train.encode import Encoded, Encoder
from vtcli.train.frames import Clip
from vtcli.train.grpo import forbidden
from vtcli.train.job import Job
from vtcli.train.journal import Journal
from vtcli.train.model import load_for_training, lora_config
from vtcli.train.recipe import Lora, Recipe
from vtcli.train.recipe_file import load_recipe
from vtcli.train.records import Record
from vtcli.train.rollout import Drawing, roll_out
from vtcli.train.run import run as train
from vtcli.train.shared import use_shared
from vtcli.train.vllm import APART, Vllm, difference, told_seconds

ROUNDING = 2e-5
"""What kernels in float32 may be apart in a log-probability."""


def test_told_seconds_count_as_float32_does() -> None:
    """vLLM multiplies in float64, which alone would number some cells of one clip in fifty otherwise."""
    otherwise = 0
    for frames in (8, 16, 32, 64, 80):
        for hundredths in range(100, 60_000, 77):
            seconds = 2 * hundredths / 100 / frames
            ids = np.full(frames // 2, 7)
            steps = number(ids, [Shape((frames // 2, 2, 2), seconds)], video_token_id=7)[0]
            told = told_seconds(steps, 2.0) * 2.0
            assert ((np.arange(len(steps)) * told).astype(np.int64) == steps).all(), (frames, seconds)
            otherwise += bool(((np.arange(len(steps)) * (seconds * 2.0)).astype(np.int64) != steps).any())
    assert otherwise > 0
    assert told_seconds(np.zeros(1, np.int64), 2.0) == 1.0


def test_a_run_without_vllm_says_what_to_install(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtcli.install.util.find_spec", lambda name: None if name == "vllm" else name)
    recipe = load_recipe("tiny", ["grpo.rollouts=vllm"])
    with pytest.raises(EngineError, match=r"grpo\.rollouts=vllm needs vllm: run .*\[vllm\]"):
        train(Job(recipe, tmp_path / "out", ("grpo",)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Encoder]:
    recipe = load_recipe("tiny", ["grpo.rollouts=vllm", "data.max_prompt_tokens=2048"])
    checkpoint = open_checkpoint("tiny")
    return recipe, Encoder.of(checkpoint, recipe, tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def asked(records: tuple[Record, ...], pictures: tuple[Path, ...]) -> list[Record]:
    """About a video each, two videos, none, and two pictures."""
    two = dataclasses.replace(records[1], videos=(records[1].videos[0], records[2].videos[0]))
    none = dataclasses.replace(records[2], videos=())
    return [*records[:4], two, none, dataclasses.replace(none, pictures=pictures[:2])]


@pytest.fixture(scope="module")
def prompts(tiny: tuple[Recipe, Encoder], asked: list[Record]) -> list[Encoded]:
    return [tiny[1].prompt(record) for record in asked]


@pytest.fixture(scope="module")
def vllm(tiny: tuple[Recipe, Encoder], asked: list[Record]) -> Iterator[Vllm]:
    pytest.importorskip("vllm")
    recipe, encoder = tiny
    engine = Vllm(encoder.checkpoint, recipe, asked)
    yield engine
    engine.close()


@pytest.fixture
def model(tiny: tuple[Recipe, Encoder]) -> Any:
    recipe, encoder = tiny
    model = load_for_training(encoder.checkpoint, recipe)
    use_shared(model)
    return model


def greedy(encoder: Encoder, tokens: int = 300) -> Drawing:
    return Drawing(tokens, encoder.checkpoint.eos_token_ids, forbidden(encoder), temperature=0)


def seeds(prompts: list[Encoded]) -> list[tuple[int, ...]]:
    return [(0, number) for number in range(len(prompts))]


def apart(model: Any, prompts: list[Encoded], vllm: Vllm, drawing: Drawing) -> tuple[float, int]:
    """The largest difference of a log-probability, and how many of vLLM's completions are not `roll_out`'s."""
    drawn = vllm.draw(prompts, 1, drawing, seeds(prompts))
    own = roll_out(model, prompts, 1, drawing)
    most = [
        float(difference(model, prompt, [ids], [logps])[1])
        for prompt, ids, logps in zip(prompts, drawn.ids, drawn.logps, strict=True)
    ]
    return max(most), sum(one != other for one, other in zip(own, drawn.ids, strict=True))


@pytest.mark.vllm
def test_completions_are_vts_own_and_stay_so_when_weights_change(
    vllm: Vllm, tiny: tuple[Recipe, Encoder], prompts: list[Encoded], model: Any
) -> None:
    drawing = greedy(tiny[1])
    most, others = apart(model, prompts, vllm, drawing)
    assert most < ROUNDING and not others
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * weight.abs().mean() * 0.2)
    stale, _ = apart(model, prompts, vllm, drawing)
    vllm.load(model)
    most, others = apart(model, prompts, vllm, drawing)
    assert most < ROUNDING < 100 * ROUNDING < stale and not others
    for name, weight in model.named_parameters():  # one kind of weight at a time: none is passed over
        if "layers.0" in name or "blocks.0" in name or ("layers" not in name and "blocks" not in name):
            with torch.no_grad():
                weight.mul_(1.05)
            vllm.load(model)
            assert apart(model, prompts[:2], vllm, greedy(tiny[1], 20))[0] < ROUNDING, name


@pytest.mark.vllm
def test_adapters_are_merged_on_the_way(
    vllm: Vllm, tiny: tuple[Recipe, Encoder], prompts: list[Encoded], model: Any
) -> None:
    from peft import get_peft_model

    vllm.load(model)
    adapted = get_peft_model(model, lora_config(Lora(rank=4, alpha=8), vision=True))
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
                before[name] = weight.clone()
    base = adapted.get_base_model()
    drawing = greedy(tiny[1])
    stale, _ = apart(base, prompts, vllm, drawing)
    vllm.load(base)
    most, others = apart(base, prompts, vllm, drawing)
    assert most < 5 * ROUNDING < 1e-2 < stale and not others
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())


@pytest.mark.vllm
def test_sampling_has_the_models_shares_and_follows_from_the_seed(
    vllm: Vllm, tiny: tuple[Recipe, Encoder], model: Any
) -> None:
    vllm.load(model)
    encoder, copies = tiny[1], 4000
    prompt = encoder.encode([3, 1, 4, 1, 5], [])
    with torch.no_grad():
        logits = model(
            input_ids=torch.from_numpy(prompt.ids)[None], position_ids=torch.from_numpy(prompt.positions)[:, None]
        ).logits[0, -1]
    favourite = int(logits.argmax())
    kept_out = [*forbidden(encoder), favourite]
    logits[kept_out] = float("-inf")
    for temperature, top_p in ((1.0, 1.0), (2.0, 0.9)):
        shares = (logits / temperature).softmax(-1)
        order = shares.argsort(descending=True)
        kept = int((shares[order].cumsum(0) < top_p).sum()) + 1 if top_p < 1 else len(shares)
        drawing = Drawing(1, (), kept_out, temperature, top_p)
        ids = [row[0] for row in vllm.draw([prompt], copies, drawing, [(7,)]).ids]
        seen = torch.bincount(torch.tensor(ids), minlength=len(shares)) / copies
        wanted = torch.zeros_like(shares)
        wanted[order[:kept]] = shares[order[:kept]] / shares[order[:kept]].sum()
        assert float((seen - wanted).abs().max()) < 0.03
        assert seen[order[kept:]].sum() == 0 and seen[favourite] == 0
    one, again, other = (vllm.draw([prompt], 4, Drawing(12, (), kept_out, 2.0), [(seed,)]).ids for seed in (7, 7, 8))
    assert one == again != other and len({tuple(row) for row in one}) > 1


@pytest.mark.vllm
def test_what_it_leaves_alone(vllm: Vllm, tiny: tuple[Recipe, Encoder], prompts: list[Encoded], model: Any) -> None:
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    vllm.load(model)
    before = vllm.watch.patches
    vllm.draw(prompts[:2], 2, dataclasses.replace(greedy(tiny[1], 5), temperature=1.0), seeds(prompts[:2]))
    assert vllm.watch.patches - before == sum(len(prompt.patches) for prompt in prompts[:2])  # once for both copies
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
    torch.set_num_threads(threads)


@pytest.mark.vllm
def test_a_run_that_sees_something_else_is_seen(
    vllm: Vllm, tiny: tuple[Recipe, Encoder], prompts: list[Encoded], asked: list[Record], model: Any
) -> None:
    """Frames in another order, other times, and positions that are not vLLM's."""
    vllm.load(model)
    encoder, drawing = tiny[1], greedy(tiny[1])
    clip = encoder.store.clip(asked[0].videos[0])
    ids = encoder.prompt_ids(asked[0])
    wrong = {
        "shuffled": encoder.prompt(asked[0], shuffle=3),
        "slower": encoder.encode(ids, [Clip(clip.pixels, 2 * clip.second_per_grid)]),
        "without times": encoder.encode(ids, [Clip(clip.pixels, 1 / 12)]),
    }
    for what, prompt in wrong.items():
        drawn = vllm.draw([prompt], 1, drawing, [(0,)])
        mean = float(difference(model, prompts[0], drawn.ids, drawn.logps)[0])
        with pytest.raises(TrainError, match="does not see what is trained on"):
            vllm.check(mean)
        assert mean > APART, what
    later = prompts[0].positions + (
        np.arange(prompts[0].ids.size) > np.flatnonzero(prompts[0].ids == prompts[0].token_id)[-1]
    )
    with pytest.raises(TrainError, match="number the positions"):
        vllm.draw([dataclasses.replace(prompts[0], positions=later)], 1, drawing, [(0,)])
    with pytest.raises(TrainError, match=r"vLLM's model was trained blind|0 of 512 patches"):
        vllm.watch.patches = 0
        with vllm.watch.expecting(len(prompts[0].patches)):
            vllm.draw(prompts[5:6], 1, drawing, [(0,)])


@pytest.mark.vllm
@pytest.mark.parametrize("how", [(), ("lora.rank=4", "lora.alpha=8", "train_vision=false")], ids=["all", "lora"])
def test_a_run_through_the_command_and_on_from_a_checkpoint(how: tuple[str, ...], shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    settings = (
        "grpo.rollouts=vllm", "data.held_out=2", "grpo.batch=2", "grpo.per_device=1", "grpo.group=4",
        "grpo.max_tokens=120", "grpo.max_steps=3", "grpo.learning_rate=1e-4", "grpo.save_every=1",
        "grpo.temperature=1.5", "grpo.rewards={tests.train.test_grpo:spread: 1.0, temporal: 1.0}", *how,
    )  # fmt: skip
    changes = [part for each in settings for part in ("--set", each)]
    command = ["train", "tiny", "--stage", "grpo", "--data", str(shapes), *changes]
    home, where = tmp_path / "home", {"PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, error = finished([*command, "-o", str(whole)], home, **where)
    assert code == 0, error
    assert "vLLM apart" in error
    rows = [row for row in Journal(whole / "grpo/log.jsonl").rows() if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3] and rows[-1]["kl"] > 0
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-4 for row in rows)
    final, weights = (
        whole / "grpo/final/model.safetensors",
        load_file(open_checkpoint("tiny").path / "model.safetensors"),
    )
    weights = {published_name(name): value for name, value in weights.items()}
    assert any((value != weights[published_name(name)]).any() for name, value in load_file(final).items())
    process = start([*command, "-o", str(cut)], home, **where)
    while not checkpoints.complete(cut / "grpo") and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    code, error = finished([*command, "-o", str(cut)], home, **where)
    assert code == 0 and "goes on after step" in error, error
    assert final.read_bytes() == (cut / "grpo/final/model.safetensors").read_bytes()
