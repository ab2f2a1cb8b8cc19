"""The time foretold for a run: held against what torch counts, and against how it must grow."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from torch.utils.flop_counter import FlopCounterMode

from vtcli.engines.vision import see
from vtcli.models import catalogue
from vtcli.models.checkpoint import Checkpoint, open_checkpoint, planned_checkpoint
from vtcli.train import duration
from vtcli.train import pace as pace_of
from vtcli.train.encode import Encoder
from vtcli.train.grpo import grpo_trainer
from vtcli.train.journal import Journal
from vtcli.train.model import load_for_training
from vtcli.train.operations import Operations, Size
from vtcli.train.pace import Pace, measure
from vtcli.train.plan import Devices
from vtcli.train.recipe import Grpo, Lora, Recipe
from vtcli.train.recipe_file import load_recipe
from vtcli.train.records import Record
from vtcli.train.sft import sft_trainer
from vtcli.train.trainer import Context

ONE = Devices("cpu", 1, "ddp", 0)
COUNTED = Pace(layers=1.0, head=1.0, vision=1.0, bytes=math.inf, step=0.0)
"""At which seconds are operations."""
TRAIN = [Size(1300, 250, ((8, 16, 30),)), Size(900, 350, ((8, 16, 20),)), Size(300, 100)]


def attention(grad: tuple[int, ...], query: tuple[int, ...], key: tuple[int, ...], products: int) -> int:
    """Operations of so many matrix products of attention; what a causal mask leaves out is counted too."""
    assert grad == query
    batch, heads, tokens, size = query
    return 2 * products * batch * heads * tokens * size * key[2]


KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
MAPPING = {  # torch knows these of GPUs only
    KERNEL: lambda query, key, value, *_, **__: attention(query, query, key, 2),
    BACKWARD: lambda grad, query, key, value, *_, **__: attention(grad, query, key, 5),
}


def counted(act: Any) -> dict[Any, int]:
    """Operations by kind that torch sees."""
    with FlopCounterMode(display=False, custom_mapping=MAPPING) as counter:
        act()
    found: dict[Any, int] = counter.get_flop_counts()["Global"]
    return found


def linear(counts: dict[Any, int]) -> int:
    return sum(count for kind, count in counts.items() if "attention" not in str(kind) and "bmm" not in str(kind))


def test_operations_of_the_parts_are_those_torch_counts(
    encoder: Encoder, recipe: Recipe, records: tuple[Record, ...]
) -> None:
    model = load_for_training(encoder.checkpoint, recipe)
    of, prompt = Operations(encoder.checkpoint), encoder.prompt(records[0])
    grids = [(int(t), int(h), int(w)) for t, h, w in prompt.grids]
    with torch.no_grad():
        seen = counted(lambda: see(model.model.visual, prompt.patches, prompt.grids))
        # Attention of the tower is never causal, so torch's count of it is ours.
        assert of.vision(grids) == linear(seen) + sum(n for kind, n in seen.items() if "attention" in str(kind))
        tokens = 40
        ids = torch.arange(tokens)[None]
        text = counted(lambda: model.model.language_model(input_ids=ids, use_cache=False))
        assert linear(text) == of.layers(tokens)
        pairs = (tokens * tokens, tokens * (tokens + 1) // 2)  # torch counts what a causal mask leaves out
        assert (sum(text.values()) - linear(text)) * pairs[1] == of.attention(tokens) * pairs[0]
        head = counted(lambda: model.lm_head(torch.zeros(7, model.config.text_config.hidden_size)))
        assert of.head(7) == sum(head.values())
    assert of.attention(30) + of.attention(10, before=30) == of.attention(40)


def step_of(recipe: Recipe, records: tuple[Record, ...], encoder: Encoder, folder: Path, name: str) -> int:
    """Operations of one real optimizer step."""
    model = load_for_training(encoder.checkpoint, recipe)
    make: Any = sft_trainer if name == "sft" else grpo_trainer
    trainer = make(model, recipe, records, encoder, str(folder))
    if name == "grpo":  # every completion has all its tokens
        trainer.drawing = dataclasses.replace(trainer.drawing, ends=(-1,))
    stage: Any = recipe.sft if name == "sft" else recipe.grpo
    trainer.follow(Context(name, folder, encoder.checkpoint, stage, Journal(folder / "log.jsonl")))
    return sum(counted(trainer.train).values())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sft", {}),
        ("sft", {"gradient_checkpointing": True}),
        ("sft", {"lora": Lora(4, 8), "train_vision": False}),
        ("grpo", {"beta": 0.04}),
        ("grpo", {"beta": 0.0, "share": False}),
        ("grpo", {"beta": 0.04, "lora": Lora(4, 8), "train_vision": False}),
    ],
)
def test_a_step_takes_no_fewer_operations_than_foretold(
    name: Any, changes: dict[str, Any], recipe: Recipe, records: tuple[Record, ...], encoder: Encoder, tmp_path: Path
) -> None:
    """Nor more than twice as many."""
    whole = {key: value for key, value in changes.items() if key in ("lora", "train_vision")}
    own = {key: value for key, value in changes.items() if key not in whole} | {"max_steps": 1, "save_every": 1000}
    stage = dataclasses.replace(recipe.stage(name), **own)  # type: ignore[type-var]
    recipe = dataclasses.replace(recipe, prompt="video-r1", **whole, **{name: stage})
    encoder = Encoder(encoder.checkpoint, encoder.tokenizer, recipe, encoder.store)
    same = (records[0], records[0])  # so that it does not matter which a step takes
    prompt = encoder.prompt(records[0])
    grids = tuple((int(t), int(h), int(w)) for t, h, w in prompt.grids)
    size = Size(prompt.ids.size, len(encoder.reply_ids(records[0])), grids)
    assert isinstance(recipe.grpo, Grpo)
    told = duration.estimate(
        encoder.checkpoint, recipe, name, 1, [size] * 2, [], ONE, COUNTED, reply=recipe.grpo.max_tokens
    )
    seen = step_of(recipe, same, encoder, tmp_path, name)
    assert 0.5 * seen < told["total"] <= seen


@pytest.fixture(scope="module")
def seven() -> Checkpoint:
    return planned_checkpoint(catalogue.entries()["video-thinker-7b"])


GPU = Devices("cuda", 1, "ddp", 0)


def seconds(checkpoint: Checkpoint, recipe: Recipe, name: Any, records: list[Size], on: Devices = GPU) -> Any:
    """At the rates of a device, of a run over all `records`."""
    from vtcli.train.plan import steps

    stage = recipe.stage(name)
    assert stage is not None
    pace, reply = Pace(1e14, 1e14, 1e14, 1e12, 0.0), duration.mean_reply(recipe, records)
    return duration.estimate(checkpoint, recipe, name, steps(stage, len(records)), records, TRAIN, on, pace, reply)


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_time_grows_as_it_must(name: Any, seven: Checkpoint) -> None:
    recipe = load_recipe("video-thinker-7b", ["grpo.max_steps=null"])
    base = seconds(seven, recipe, name, TRAIN * 80)
    twice = seconds(seven, recipe, name, TRAIN * 160)
    for part in ("passes", "update", *(["completions"] if name == "grpo" else [])):
        assert twice[part] == pytest.approx(2 * base[part])
    longer = seconds(seven, load_recipe("video-thinker-7b", ["grpo.max_steps=null", f"{name}.epochs=4"]), name,
                     TRAIN * 80)  # fmt: skip
    assert longer["passes"] == pytest.approx(base["passes"] * (4 if name == "sft" else 2))
    four = seconds(seven, recipe, name, TRAIN * 80, Devices("cuda", 4, "fsdp", 0))
    assert four["passes"] == pytest.approx(base["passes"] / 4) and four["update"] == pytest.approx(base["update"] / 4)
    lora = seconds(seven, load_recipe("video-thinker-7b", ["grpo.max_steps=null", "lora.rank=64"]), name, TRAIN * 80)
    assert lora["passes"] < base["passes"] and lora["update"] < 0.1 * base["update"]
    more = seconds(seven, load_recipe("video-thinker-7b", ["sft.evaluate_every=1", "grpo.evaluate_every=1"]), name,
                   TRAIN * 80)  # fmt: skip
    assert more["evaluation"] > 5 * base["evaluation"] > 0


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_a_processor_scores_prompts_too(name: Any, seven: Checkpoint) -> None:
    """TRL's output layer leaves them out on GPUs alone."""
    recipe = load_recipe("video-thinker-7b")
    assert seconds(seven, recipe, name, TRAIN, ONE)["passes"] > 1.01 * seconds(seven, recipe, name, TRAIN)["passes"]


def test_drawing_waits_for_the_weights_or_for_the_products(seven: Checkpoint) -> None:
    recipe, reply = load_recipe("video-thinker-7b"), 250

    def completions(group: int, pace: Pace, share: bool = True) -> float:
        changed = load_recipe("video-thinker-7b", [f"grpo.group={group}", f"grpo.share={str(share).lower()}"])
        return duration.estimate(seven, changed, "grpo", 1, TRAIN, [], ONE, pace, reply)["completions"]

    assert recipe.grpo is not None
    weights = Operations(seven).weights * 2
    slow_memory = Pace(1e18, 1e18, 1e18, 1e12, 0.0)
    # Each of the tokens reads all weights, however many completions wait for them.
    assert completions(2, slow_memory) > (reply - 1) * weights / 1e12
    assert completions(16, slow_memory) < 2 * completions(2, slow_memory)
    slow_products = Pace(1e13, 1e13, 1e13, 1e18, 0.0)
    drawn = completions(16, slow_products) - completions(8, slow_products)  # the prompt apart
    assert drawn == pytest.approx(4 * (completions(4, slow_products) - completions(2, slow_products)))
    assert completions(16, slow_products, share=False) > 2 * completions(16, slow_products)


def test_replies_foretell_completions() -> None:
    recipe = load_recipe("video-thinker-7b")
    assert duration.mean_reply(recipe, TRAIN) == round((250 + 350 + 100) / 3)
    assert duration.mean_reply(recipe, [Size(10, 5000)]) == 1024
    assert duration.mean_reply(recipe, [Size(10, 0)]) == 1


def test_drawing_takes_no_less_than_its_steps(seven: Checkpoint) -> None:
    """Those of completions on a GPU with all the weights are captured; held-out questions' are not."""
    recipe, pace = load_recipe("video-thinker-7b", ["grpo.evaluate_every=4"]), Pace(1e18, 1e18, 1e18, 1e18, 0.5)

    def told(on: Devices) -> dict[str, float]:
        return duration.estimate(seven, recipe, "grpo", 4, TRAIN, TRAIN * 6, on, pace, reply=101)

    launched = told(ONE)
    assert launched["completions"] == pytest.approx(4 * 100 * 0.5, rel=1e-3)
    assert launched["evaluation"] == pytest.approx(2 * 2 * 100 * 0.5, rel=1e-3)  # 18 questions are two batches
    captured = told(GPU)
    assert captured["completions"] < 1e-3 * captured["evaluation"] and captured["evaluation"] == launched["evaluation"]
    assert told(Devices("cuda", 2, "fsdp", 0))["completions"] == pytest.approx(launched["completions"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sft", []),
        ("grpo", ["compute=bfloat16"]),
        ("grpo", ["weights=bfloat16", "compute=bfloat16", "lora.rank=4", "train_vision=false"]),
    ],
)
def test_the_pace_is_measured_and_leaves_chance_alone(name: Any, changes: list[str]) -> None:
    checkpoint, recipe = open_checkpoint("tiny"), load_recipe("tiny", changes)
    before = torch.random.get_rng_state()
    pace = measure(ONE, checkpoint, recipe, [name], [Size(520, 220, ((8, 8, 8),)), Size(40, 5)])[name]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(1e7 < rate < 1e15 for rate in (pace.layers, pace.head, pace.vision)) and 1e7 < pace.bytes < 1e13
    assert 1e-5 < pace.step < 10


def test_the_slice_that_is_timed_has_the_widths_of_the_model() -> None:
    """So that its operations are a layer's, a block's and a part of the head's."""
    checkpoint = open_checkpoint("tiny")
    thin = pace_of._thin(checkpoint)
    whole, part = Operations(checkpoint), Operations(thin)
    assert part.layers(7) * int(checkpoint.text_config["num_hidden_layers"]) == whole.layers(7)
    model = pace_of._model(thin, load_recipe("tiny"))
    parts = pace_of._Parts(model, "cpu", load_recipe("tiny"))
    assert linear(counted(lambda: parts.text(2, 40))) == 3 * 2 * part.layers(40)  # there, and back twice
    frozen = load_recipe("tiny", ["lora.rank=4", "train_vision=false"])
    still = pace_of._Parts(pace_of._model(thin, frozen), "cpu", frozen)
    assert linear(counted(lambda: still.text(2, 40))) == 2 * 2 * part.layers(40)
    # Logits twice; torch does not count what is added in place.
    assert linear(counted(lambda: parts.scores(7))) == 2 * part.head(7)
    counts = counted(
        lambda: model.model.language_model(inputs_embeds=torch.zeros(1, 40, model.config.text_config.hidden_size))
    )
    assert linear(counts) == part.layers(40)
    grids = ((8, 8, 8),)
    with torch.no_grad():
        seen = counted(lambda: parts.vision(grids))
    assert part.vision(grids) == sum(seen.values())
