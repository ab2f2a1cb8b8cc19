"""GRPO on videos: completions are those `vt ask` would give, every pass sees the video, sharing changes no number."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

import torch

from tests.capturing import Waits
from vtcli import ask
from vtcli.engines.base import SamplingOptions
from vtcli.engines.transformers import TransformersEngine
from vtcli.errors import TrainError
from vtcli.train.batches import IGNORED, shared_batch, videos
from vtcli.train.encode import Encoded, Encoder
from vtcli.train.evaluate import held_out_scores
from vtcli.train.grpo import VideoGRPOTrainer, forbidden, grpo_trainer
from vtcli.train.journal import Journal
from vtcli.train.model import load_for_training
from vtcli.train.recipe import Lora, Recipe
from vtcli.train.records import Record
from vtcli.train.rollout import Drawing, dice, roll_out
from vtcli.train.sampler import GroupSampler
from vtcli.train.shared import _attention, use_shared
from vtcli.train.trainer import Context

TOKENS = 12


@pytest.fixture(scope="module")
def model(encoder: Encoder, recipe: Recipe) -> Any:
    model = load_for_training(encoder.checkpoint, recipe)
    use_shared(model)
    return model


@pytest.fixture(scope="module")
def prompts(encoder: Encoder, records: tuple[Record, ...], pictures: tuple[Path, ...]) -> list[Encoded]:
    """With one video, two, none, and two pictures: of different lengths."""
    two = dataclasses.replace(records[1], videos=(records[1].videos[0], records[2].videos[0]))
    none = dataclasses.replace(records[2], videos=())
    seen = dataclasses.replace(none, pictures=pictures[:2])
    return [encoder.prompt(record) for record in (records[0], two, none, seen)]


def drawing_for(encoder: Encoder, **changes: Any) -> Drawing:
    return Drawing(**{"max_tokens": TOKENS, "ends": encoder.checkpoint.eos_token_ids,
                      "forbidden": forbidden(encoder)} | changes)  # fmt: skip


def plain_logps(model: Any, prompt: Encoded, completion: list[int]) -> Any:
    """By transformers' own forward over prompt and completion, nothing shared."""
    ids = torch.tensor([*prompt.ids.tolist(), *completion])[None]
    after = prompt.next_position + np.arange(len(completion))
    positions = np.concatenate([prompt.positions, np.tile(after, (3, 1))], axis=1)
    with torch.no_grad():
        logits = model(input_ids=ids, position_ids=torch.from_numpy(positions)[:, None], **videos([prompt])).logits[0]
    logps = logits[prompt.ids.size - 1 : -1].log_softmax(-1)
    return logps.gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_greedy_completions_are_the_engines(records: tuple[Record, ...], encoder: Encoder, model: Any) -> None:
    greedy = drawing_for(encoder, temperature=0, forbidden=())
    found = roll_out(model, [encoder.prompt(record) for record in records[:4]], 1, greedy)
    engine = TransformersEngine(encoder.checkpoint, encoder.tokenizer, "cpu")
    engine.open()
    for record, ids in zip(records, found, strict=False):
        sampling = SamplingOptions(max_tokens=TOKENS, temperature=0)
        question = ask.Question(
            record.videos[0], record.problem, encoder.checkpoint.path, record.options, sampling=sampling
        )
        _, request = ask.read(ask.prepare(question))
        assert "".join(engine.stream(request)) == encoder.tokenizer.decode(ids)
    engine.close()


def test_what_is_drawn_depends_on_its_numbers_alone(prompts: list[Encoded], encoder: Encoder, model: Any) -> None:
    drawing = drawing_for(encoder, temperature=1.3, top_p=0.95)
    numbers = [dice(3, TOKENS, 0, i) for i in range(len(prompts))]
    together = roll_out(model, prompts, 3, drawing, np.concatenate(numbers))
    for i, prompt in enumerate(prompts):
        assert roll_out(model, [prompt], 3, drawing, numbers[i]) == together[3 * i : 3 * i + 3]
        assert roll_out(model, [prompt] * 3, 1, drawing, numbers[i]) == together[3 * i : 3 * i + 3]
    assert len({tuple(ids) for ids in together}) > 3


def test_steps_of_fixed_shapes_draw_the_same(prompts: list[Encoded], encoder: Encoder, model: Any) -> None:
    """Also once completions that have ended are dropped."""
    drawing = drawing_for(encoder, ends=[5, 6, 7, *range(20, 120)], temperature=1.3, top_p=0.95)
    numbers = np.concatenate([dice(4, TOKENS, 1, i) for i in range(len(prompts))])
    drawn = roll_out(model, prompts, 4, drawing, numbers)
    assert len({len(ids) for ids in drawn}) > 2
    assert roll_out(model, prompts, 4, dataclasses.replace(drawing, captured=True), numbers) == drawn


def test_a_step_of_fixed_shapes_can_be_captured(
    prompts: list[Encoded], encoder: Encoder, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for no number, takes none from outside, and does the same every time."""
    steps: list[Waits] = []

    def capture(work: Any, *_: Any) -> Any:
        def watched() -> None:
            steps.append(Waits())
            steps[-1].around(work)()

        return watched

    monkeypatch.setattr("vtcli.train.rollout.capture", capture)
    for asked in (prompts, prompts[:1]):  # of different lengths, of one
        steps.clear()
        roll_out(model, asked, 2, drawing_for(encoder, temperature=0, ends=(), captured=True))
        assert len(steps) == TOKENS - 1
        assert all(not step.found for step in steps)
        assert all(step.shapes == steps[1].shapes != [] for step in steps[1:])  # the first asks for memory


def test_sampling_has_the_models_shares(encoder: Encoder, model: Any) -> None:
    """First tokens of many copies, against the softmax; top-p leaves out the tail."""
    prompt, copies = encoder.encode([3, 1, 4, 1, 5], []), 4000
    with torch.no_grad():
        ids, positions = torch.from_numpy(prompt.ids)[None], torch.from_numpy(prompt.positions)[:, None]
        logits = model(input_ids=ids, position_ids=positions).logits[0, -1]
    logits[forbidden(encoder)] = float("-inf")
    shares = (logits / 0.7).softmax(-1)
    for top_p in (1.0, 0.5):
        drawing = drawing_for(encoder, max_tokens=1, temperature=0.7, top_p=top_p)
        drawn = roll_out(model, [prompt], copies, drawing, dice(copies, 1, 7))
        seen = torch.bincount(torch.tensor([ids[0] for ids in drawn]), minlength=len(shares)) / copies
        order = shares.argsort(descending=True)
        kept = int((shares[order].cumsum(0) < top_p).sum()) + 1 if top_p < 1 else len(shares)
        wanted = torch.zeros_like(shares)
        wanted[order[:kept]] = shares[order[:kept]] / shares[order[:kept]].sum()
        assert float((seen - wanted).abs().max()) < 0.03
        assert seen[order[kept:]].sum() == 0


def test_forbidden_tokens_are_never_drawn(prompts: list[Encoded], encoder: Encoder, model: Any) -> None:
    favourite = roll_out(model, prompts[:1], 1, drawing_for(encoder, temperature=0, forbidden=()))[0][0]
    assert encoder.checkpoint.video_token_id in forbidden(encoder)
    other = roll_out(model, prompts[:1], 1, drawing_for(encoder, temperature=0, forbidden=[favourite]))[0]
    assert favourite not in other
    assert roll_out(model, prompts[:1], 1, drawing_for(encoder, temperature=0, ends=[favourite], forbidden=())) == [
        [favourite]
    ]


def test_the_largest_number_draws_no_forbidden_token(encoder: Encoder, model: Any) -> None:
    """0.99999999 is 1 in float32: what lies at the end of the shares must not be drawn by it."""
    prompt, size = encoder.encode([3, 1, 4, 1, 5], []), int(encoder.checkpoint.text_config["vocab_size"])
    kept_out = range(size // 2, size)
    for top_p in (1.0, 0.5):
        drawing = drawing_for(encoder, max_tokens=1, forbidden=kept_out, top_p=top_p)
        ((drawn,),) = roll_out(model, [prompt], 1, drawing, np.array([[1 - 2.0**-53]]))
        assert drawn not in kept_out


def test_sharing_a_prompt_changes_no_log_probability(prompts: list[Encoded], encoder: Encoder, model: Any) -> None:
    """Nor does the company of other prompts, of other lengths."""
    drawing = drawing_for(encoder, ends=[5, 6, 7, *range(20, 120)], temperature=1.0)  # completions of many lengths
    numbers = np.concatenate([dice(4, TOKENS, 1, i) for i in range(len(prompts))])
    drawn = roll_out(model, prompts, 4, drawing, numbers)
    assert len({len(ids) for ids in drawn}) > 2
    groups = [[torch.tensor(ids) for ids in drawn[4 * i : 4 * i + 4]] for i in range(len(prompts))]
    batch = shared_batch(prompts, groups, 0)
    with torch.no_grad():
        labels = batch.pop("shift_labels")
        shared = model(**batch).logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    found = shared[labels != IGNORED].split([len(ids) for ids in drawn])
    for number, ids in enumerate(drawn):
        assert (found[number] - plain_logps(model, prompts[number // 4], ids)).abs().max() < 1e-4


@pytest.mark.parametrize("causal", [True, False])
def test_bfloat16_on_a_cpu_has_an_attention_of_its_own(causal: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 16).bfloat16() for tokens in (9, 9 if causal else 20, 20))
    value = value[:, :, : key.shape[2]]
    seen = None if causal else torch.rand(9, 20) < 0.5
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), seen, is_causal=causal, scale=0.5
    )
    assert (_attention(query, key, value, seen, 0.5).float() - wanted).abs().max() < 0.03


def trainer_for(
    recipe: Recipe, records: tuple[Record, ...], encoder: Encoder, folder: Path, lora: Lora | None = None, **stage: Any
) -> VideoGRPOTrainer:
    assert recipe.grpo is not None
    recipe = dataclasses.replace(recipe, grpo=dataclasses.replace(recipe.grpo, **stage), lora=lora)
    assert recipe.grpo is not None
    trainer = grpo_trainer(load_for_training(encoder.checkpoint, recipe), recipe, records, encoder, str(folder))
    trainer.follow(Context("grpo", folder, encoder.checkpoint, recipe.grpo, Journal(folder / "log.jsonl")))
    return trainer


class Spread:
    """A reward that tells completions apart whatever they say."""

    def __call__(self, group: Any) -> list[float]:
        return [float(sum(map(ord, text)) % 7) for text in group.texts]


spread = Spread()


def test_every_pass_of_a_step_sees_the_video(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(
        recipe, records, encoder, tmp_path, max_steps=2, learning_rate=1e-3,
        rewards={"tests.train.test_grpo:spread": 1.0},
    )  # fmt: skip
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    prompt = 512  # patches of a clip
    assert trainer.watch.patches == 2 * (2 * prompt + 2 * prompt)  # two prompts a step: in rollouts, in the loss
    assert trainer.reference_watch is not None and trainer.reference_watch.patches == 2 * 2 * prompt
    moved = [name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])]
    assert any("visual" in name for name in moved) and len(moved) == len(before)
    first, second = list(Journal(tmp_path / "log.jsonl").rows())[:2]
    assert "forward" in vars(trainer.ref_model.model.visual.blocks[0].attn)  # it sees by the policy's kernels
    assert first["kl"] == pytest.approx(0.0, abs=1e-9) and second["kl"] > 0  # the reference is the model it began as


def test_the_first_step_is_the_gradient_of_the_definition(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    """The paper's loss at ratio 1 and KL 0: minus advantage times log-probability, mean by sequence, then over all."""
    stage = {"max_steps": 1, "learning_rate": 1e-9, "rewards": {"tests.train.test_grpo:spread": 1.0}, "batch": 1,
             "max_grad_norm": 1e9}  # fmt: skip
    gradients: dict[str, Any] = {}
    norms = []
    ways: dict[str, dict[str, Any]] = {
        "shared": {},
        "alone": {"share": False},
        "twice": {"gradient_checkpointing": True},
        "undivided": {"scale_rewards": "none"},
    }
    for name, how in ways.items():
        trainer = trainer_for(recipe, records, encoder, tmp_path / name, group=4, **how, **stage)
        trainer._clip_grad_norm = lambda model, trainer=trainer: gradients.update(  # type: ignore[method-assign,misc]
            {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
        )
        trainer.train()
        norms.append({name: value for name, value in gradients.items()})
    (group,) = trainer._groups
    rewards = torch.tensor(spread(group), dtype=torch.float32)
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    model = load_for_training(encoder.checkpoint, recipe).train()
    use_shared(model)
    (number,) = set(trainer._rows)
    prompt = encoder.prompt(records[number])
    drawn = trainer._buffered_inputs[0]
    completions = [
        row[: int(mask.sum())] for row, mask in zip(drawn["completion_ids"], drawn["completion_mask"], strict=True)
    ]
    for completion, advantage in zip(completions, advantages, strict=True):
        batch = shared_batch([prompt], [[completion]], 0)
        labels = batch.pop("shift_labels")
        logps = model(**batch).logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        (-advantage * logps[labels != IGNORED].mean() / len(completions)).backward()
    assert advantages.abs().max() > 0.1
    for name, parameter in model.named_parameters():
        scale = parameter.grad.abs().max()
        for way, found in zip(ways, norms, strict=True):
            divided = rewards.std() + 1e-4 if way == "undivided" else 1.0
            assert (found[name] / divided - parameter.grad).abs().max() < 1e-3 * scale + 1e-7, (way, name)


def test_bfloat16_computes_nearly_the_same(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    half = dataclasses.replace(recipe, compute="bfloat16")
    trainer = trainer_for(half, records, encoder, tmp_path, max_steps=1, rewards={"tests.train.test_grpo:spread": 1.0})
    trainer.train()
    (row,) = Journal(tmp_path / "log.jsonl").rows()
    assert row["kl"] == pytest.approx(0.0, abs=1e-9) and 0 < row["grad_norm"] < 100
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_lora_needs_no_second_model(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(
        recipe, records, encoder, tmp_path, Lora(rank=4, alpha=8), max_steps=2, learning_rate=1e-2, beta=0.04,
        rewards={"tests.train.test_grpo:spread": 1.0},
    )  # fmt: skip
    assert trainer.ref_model is None
    trainer.train()
    first, second = list(Journal(tmp_path / "log.jsonl").rows())[:2]
    assert first["kl"] == pytest.approx(0.0, abs=1e-9) and second["kl"] > 0
    assert trainer.watch.patches == 2 * 3 * 2 * 512  # rollouts, reference, loss


def test_temporal_reward_shows_shuffled_frames(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(
        recipe, records, encoder, tmp_path, max_steps=1, group=4, beta=0.0, rewards={"accuracy": 1.0, "temporal": 1.0}
    )
    trainer.train()
    assert all(len(group.texts) == 4 and len(group.shuffled) == 2 for group in trainer._groups)
    assert trainer.watch.patches == 3 * 2 * 512  # rollouts, shuffled rollouts, loss
    ids = encoder.prompt(records[0]).patches, encoder.prompt(records[0], shuffle=0).patches
    assert ids[0].shape == ids[1].shape and not np.array_equal(*ids)


def test_iterations_reuse_completions_with_their_old_log_probabilities(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_for(
        recipe, records, encoder, tmp_path, max_steps=4, iterations=2, learning_rate=1e-2, beta=0.0,
        rewards={"tests.train.test_grpo:spread": 1.0},
    )  # fmt: skip
    trainer.train()
    assert trainer.watch.patches == 2 * 2 * 512 + 2 * 2 * 512 + 4 * 2 * 512  # rollouts, old, loss
    assert "old_per_token_logps" in trainer._buffered_inputs[0]


def test_a_blind_pass_stops_the_run(
    records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vtcli.train.grpo as module

    trainer = trainer_for(recipe, records, encoder, tmp_path, max_steps=1)
    blind = ("pixel_values_videos", "video_grid_thw")

    def without(*arguments: Any) -> Any:
        return {key: value for key, value in shared_batch(*arguments).items() if key not in blind}

    monkeypatch.setattr(module, "shared_batch", without)
    with pytest.raises(TrainError, match="trained blind"):
        trainer.train()


def test_held_out_scores(records: tuple[Record, ...], encoder: Encoder, recipe: Recipe, tmp_path: Path) -> None:
    trainer = trainer_for(recipe, records, encoder, tmp_path)
    state = torch.random.get_rng_state()
    scores = held_out_scores(trainer, encoder, records[:3], drawing_for(encoder, temperature=0))
    assert scores == {"accuracy": 0.0, "format": 0.0, "iou": 0.0}  # a random model
    assert torch.equal(state, torch.random.get_rng_state())
    assert held_out_scores(trainer, encoder, (), drawing_for(encoder, temperature=0)) == {}


def test_an_epochs_order_follows_from_its_number() -> None:
    sampler = GroupSampler(10, group=2, batch=4, repeat=3, seed=1)
    first = list(sampler)
    assert len(first) == len(sampler) == 2 * 4 * 2 * 3
    assert first[0] == first[1] and first[:8] == first[8:16] == first[16:24]
    assert len(set(first)) == 8
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first and list(sampler) == second
    sampler.set_epoch(0)
    assert list(sampler) == first
