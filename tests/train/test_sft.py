"""SFT on videos: training computes what `vt ask` computes, sees what it is shown, and learns the replies only."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

import torch

from vtcli.engines.base import Request, SamplingOptions
from vtcli.engines.transformers import TransformersEngine
from vtcli.errors import TrainError, UsageError
from vtcli.layout import Layout
from vtcli.models.checkpoint import open_checkpoint
from vtcli.train.batches import IGNORED, Collator, sft_batch
from vtcli.train.encode import Encoder, Example
from vtcli.train.journal import Journal
from vtcli.train.model import load_for_training
from vtcli.train.recipe import Recipe
from vtcli.train.records import Record
from vtcli.train.sft import VideoSFTTrainer, sft_trainer
from vtcli.train.trainer import Context
from vtcli.train.watch import VisionWatch


@pytest.fixture(scope="module")
def model(encoder: Encoder, recipe: Recipe) -> Any:
    return load_for_training(encoder.checkpoint, recipe)


def trainer_for(
    recipe: Recipe, records: tuple[Record, ...], encoder: Encoder, folder: Path, **stage: Any
) -> VideoSFTTrainer:
    assert recipe.sft is not None
    recipe = dataclasses.replace(recipe, sft=dataclasses.replace(recipe.sft, **stage))
    trainer = sft_trainer(load_for_training(encoder.checkpoint, recipe), recipe, records, encoder, str(folder))
    assert recipe.sft is not None
    trainer.follow(Context("sft", folder, encoder.checkpoint, recipe.sft, Journal(folder / "log.jsonl")))
    return trainer


def engine_logps(engine: TransformersEngine, record: Record, encoder: Encoder, example: Example) -> Any:
    """Log-probabilities of the reply's tokens by the engine that `vt ask` runs, token by token."""
    prompt = example.prompt
    grid: tuple[int, int, int] = tuple(int(n) for n in prompt.grids[0])  # type: ignore[assignment]
    layout = Layout(prompt.ids, prompt.positions, grid, 0, prompt.next_position)
    clip = encoder.store.clip(record.videos[0])
    request = Request(layout, clip.pixels, clip.second_per_grid, SamplingOptions(max_tokens=len(example.reply)))
    reader = engine._reader_for(request)
    reader.restart()
    first = engine._read(request, engine._prefix(request), engine._encode(request), reader)
    rows = [first, *(reader.run([int(token)])[0] for token in example.reply[:-1])]
    logps = torch.log_softmax(torch.from_numpy(np.stack(rows)).double(), -1)
    return logps.gather(1, torch.from_numpy(example.reply)[:, None])[:, 0]


@pytest.mark.parametrize("name", ["random", "tiny"])
def test_log_probabilities_are_those_of_vt_ask(
    name: str, records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    """In a padded batch of several, through TRL's own head, to 1e-4."""
    if name == "tiny":
        checkpoint = open_checkpoint("tiny")
        from vtcli.models.tokenizer import Tokenizer

        encoder = Encoder(checkpoint, Tokenizer(checkpoint.path), recipe, encoder.store)
    examples = [encoder.example(record) for record in records[:3]]
    trainer = trainer_for(recipe, records, encoder, tmp_path)
    batch = sft_batch(examples, trainer.processing_class.pad_token_id)
    assert len({int(row.sum()) for row in batch["attention_mask"]}) > 1  # padding there is
    trainer.model.eval()
    with torch.no_grad():
        output = trainer.model(**batch, fused_lm_head=True)
    engine = TransformersEngine(encoder.checkpoint, encoder.tokenizer, "cpu")
    engine.open()
    for row, (record, example) in enumerate(zip(records, examples, strict=False)):
        trained = output.log_probs[row][batch["labels"][row, 1:] != IGNORED]
        asked = engine_logps(engine, record, encoder, example)
        assert len(trained) == len(asked) == len(example.reply)
        assert (trained - asked).abs().max() < 1e-4
    engine.close()


def test_padding_costs_no_mask(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that read a mask are slower, and what is filled up behind a row's end is seen by nothing."""
    trainer, calls = trainer_for(recipe, records, encoder, tmp_path), list[Any]()
    batch = trainer.data_collator([{"number": number} for number in range(3)])
    usual, length = torch.nn.functional.scaled_dot_product_attention, batch["input_ids"].shape[1]

    def watched(query: Any, *given: Any, attn_mask: Any = None, is_causal: bool = False, **named: Any) -> Any:
        if query.shape[2] == length:
            calls.append((attn_mask, is_causal))
        return usual(query, *given, attn_mask=attn_mask, is_causal=is_causal, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    assert not batch["attention_mask"].all()
    trainer.compute_loss(trainer.model, batch)
    assert calls == [(None, True)] * len(trainer.model.model.language_model.layers)


def test_only_the_reply_is_learned(records: tuple[Record, ...], encoder: Encoder) -> None:
    batch = Collator(encoder, records, 0)([{"number": 0}, {"number": 3}])
    for row, record in enumerate((records[0], records[3])):
        learned = batch["labels"][row][batch["labels"][row] != IGNORED].tolist()
        assert learned == encoder.reply_ids(record)
        assert learned[-1] == encoder.checkpoint.eos_token_ids[0]
    assert encoder.checkpoint.video_token_id not in batch["labels"]


def loss_of(model: Any, examples: list[Example]) -> Any:
    return model(**sft_batch(examples, 0)).loss


def test_gradients_reach_the_vision_tower(model: Any, records: tuple[Record, ...], encoder: Encoder) -> None:
    model.zero_grad()
    loss_of(model, [encoder.example(records[0]), encoder.example(records[1])]).backward()
    for name, parameter in model.model.visual.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_shuffled_frames_and_other_times_change_the_loss(
    model: Any, records: tuple[Record, ...], encoder: Encoder
) -> None:
    example = encoder.example(records[0])
    with torch.no_grad():
        straight = float(loss_of(model, [example]))
        shuffled = float(loss_of(model, [Example(encoder.prompt(records[0], shuffle=1), example.reply)]))
        stretched = dataclasses.replace(example.prompt, positions=example.prompt.positions.copy())
        stretched.positions[0] *= 2
        slower = float(loss_of(model, [Example(stretched, example.reply)]))
        again = float(loss_of(model, [example]))
    assert straight == again
    assert abs(straight - shuffled) > 1e-5 and abs(straight - slower) > 1e-5


def test_a_batch_may_mix_no_video_one_and_two_and_pictures(
    model: Any, records: tuple[Record, ...], encoder: Encoder, pictures: tuple[Path, ...]
) -> None:
    """Each example's loss is what it is alone."""
    none = dataclasses.replace(records[0], videos=())
    two = dataclasses.replace(records[1], videos=(records[1].videos[0], records[2].videos[0]))
    one, more = (dataclasses.replace(none, pictures=files) for files in (pictures[:1], pictures[1:]))
    examples = [encoder.example(record) for record in (none, more, records[2], one, two)]
    with torch.no_grad():
        sizes = [len(example.reply) for example in examples]
        alone = [float(loss_of(model, [example])) for example in examples]
        together = float(loss_of(model, examples))
        assert "pixel_values_videos" not in sft_batch(examples[:1], 0)
    assert together == pytest.approx(np.average(alone, weights=sizes), rel=1e-5)


def test_pictures_are_trained_on(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, pictures: tuple[Path, ...], tmp_path: Path
) -> None:
    asked = dataclasses.replace(records[0], videos=(), pictures=pictures[:2])
    trainer = trainer_for(recipe, (asked, asked), encoder, tmp_path, max_steps=1, save_every=100)
    trainer.train()
    assert trainer.watch.patches == 2 * len(encoder.prompt(asked).patches) > 0
    blind = trainer_for(recipe, (asked, asked), encoder, tmp_path, max_steps=1, save_every=100)
    collate = blind.data_collator
    blind.data_collator = lambda rows: {k: v for k, v in collate(rows).items() if "image" not in k and "pixel" not in k}
    with pytest.raises(TrainError, match="trained blind"):
        blind.train()


def test_a_step_trains_everything_and_is_written_down(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=2, save_every=2, learning_rate=1e-3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    still = [name for name, value in trainer.model.state_dict().items() if torch.equal(value, before[name])]
    assert not still
    assert trainer.watch.patches == 2 * 2 * 512
    rows = list(Journal(tmp_path / "log.jsonl").rows())
    assert [row["step"] for row in rows] == [1, 2] and rows[0]["loss"] > 0
    made = open_checkpoint(tmp_path / "checkpoint-2")
    assert made.weights.parameters == encoder.checkpoint.weights.parameters
    assert not list((tmp_path / "checkpoint-2").glob("training_args*"))


def test_lora_leaves_the_base_alone(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    from vtcli.train.recipe import Lora

    recipe = dataclasses.replace(recipe, lora=Lora(rank=4, alpha=8), train_vision=False)
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=1, learning_rate=1e-3)
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name and "language_model" in name for name in trained)
    linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.split(".")[-4] for name in trained} == linear
    trainer.train()
    assert trainer.watch.patches > 0


def test_nothing_goes_back_through_a_vision_tower_that_is_not_trained(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    """Gradient checkpointing with adapters asks for it, as if the pictures' patches were the words' embeddings."""
    from vtcli.train.recipe import Lora

    recipe = dataclasses.replace(recipe, lora=Lora(rank=4, alpha=8), train_vision=False)
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=1, gradient_checkpointing=True)
    back = list[str]()
    base = trainer.model.get_base_model()
    base.model.visual.blocks[0].register_full_backward_hook(lambda *_: back.append("vision"))
    base.model.language_model.layers[0].mlp.register_full_backward_hook(lambda *_: back.append("text"))
    trainer.train()
    assert set(back) == {"text"}


def test_a_run_that_is_blind_is_stopped(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=2)
    collate = trainer.data_collator

    def blind(rows: Any) -> Any:
        batch = collate(rows)
        return {name: value for name, value in batch.items() if name not in ("pixel_values_videos", "video_grid_thw")}

    trainer.data_collator = blind
    with pytest.raises(TrainError, match="trained blind: its vision tower was given 0 of 1024 patches"):
        trainer.train()


def test_the_watch_counts_what_the_tower_is_given(model: Any, records: tuple[Record, ...], encoder: Encoder) -> None:
    watch = VisionWatch(model)
    with torch.no_grad(), watch.expecting(512):
        loss_of(model, [encoder.example(records[0])])
    with pytest.raises(TrainError, match="512 of 513"), torch.no_grad(), watch.expecting(513):
        loss_of(model, [encoder.example(records[0])])


def test_a_loss_that_is_no_number_stops_the_run(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=20, save_every=1, learning_rate=1e18)
    with pytest.raises(
        TrainError, match=r"sft step \d+: the (loss|gradient's norm) is (nan|inf).*last good checkpoint"
    ):
        trainer.train()
    for name, value in trainer.model.state_dict().items():
        assert torch.isfinite(value).all(), name  # what was not finite was never applied


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_gradient_that_is_no_number_is_never_applied(
    limit: float, records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    """Also where gradients are not cut: the library looks at none then."""
    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=2, max_grad_norm=limit)
    weight = trainer.model.model.language_model.norm.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, torch.nan))
    with pytest.raises(TrainError, match="sft step 1: the gradient's norm is nan"):
        trainer.train()
    assert torch.isfinite(weight).all()


def test_a_batch_must_divide_over_the_devices(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"sft\.batch 2 is no multiple of sft\.per_device 2 x 2 devices"):
        sft_trainer(None, recipe, records, encoder, str(tmp_path), devices=2)
