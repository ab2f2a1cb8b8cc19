"""The recipe of the embedded model: batches are what vt would show, the fast forward is the model's own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokenizers import Tokenizer  # noqa: E402
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # noqa: E402

from vtcli.layout import build_layout  # noqa: E402
from vtcli.models.checkpoint import open_checkpoint  # noqa: E402
from vtcli.models.tokenizer import Tokenizer as PromptTokenizer  # noqa: E402
from vtcli.models.weights import published_name  # noqa: E402
from vtcli.prompt import build_prompt  # noqa: E402
from vtcli.shapes.language import truth  # noqa: E402
from vtcli.shapes.render import CLIP_SIZE, write_clip  # noqa: E402
from vtcli.train import shapes  # noqa: E402
from vtcli.train.records import read_records  # noqa: E402
from vtcli.train.shapes import FRAMES, sample_times  # noqa: E402
from vtcli.train.tiny import records  # noqa: E402
from vtcli.train.tiny.__main__ import corpus, untied  # noqa: E402
from vtcli.train.tiny.checkpoint import SIZE, SPECIAL, TAGS, model_config, train_tokenizer, write_files  # noqa: E402
from vtcli.train.tiny.data import OPTIONS, ORDERS, Maker, batches, prefix_text  # noqa: E402
from vtcli.train.tiny.fit import STAGES, Stage, Trainer  # noqa: E402
from vtcli.train.tiny.forward import SharedForward, patches  # noqa: E402
from vtcli.train.tiny.start import DISTANCES, look_back  # noqa: E402
from vtcli.video.patches import patchify  # noqa: E402
from vtcli.video.probe import probe  # noqa: E402
from vtcli.video.sampling import FrameRequest, plan_frames  # noqa: E402

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(text for text, _ in zip(corpus(), range(900), strict=False))


@pytest.fixture
def model(tokenizer: Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(0)
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**model_config(tokenizer))).float()


def test_tags_and_special_tokens_are_one_token_each(tokenizer: Tokenizer) -> None:
    for text in [*SPECIAL, *TAGS]:
        assert len(tokenizer.encode(text).ids) == 1
    assert tokenizer.decode(tokenizer.encode("déjà <time> 東京").ids) == "déjà <time> 東京"


def test_the_prompt_before_the_video_is_the_one_vt_asks_with(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_files(tmp_path, tokenizer)
    text, ids = PromptTokenizer(tmp_path).encode_prompt(build_prompt("Which way does the red circle go?"))
    assert text.startswith(prefix_text() + "<|video_pad|><|vision_end|>Which way")
    front = tokenizer.encode(prefix_text()).ids
    assert list(ids[: len(front)]) == front


@pytest.mark.parametrize("seconds", [6.0, 8.0, 13.5, 24.0])
def test_frames_and_positions_are_those_of_vts_own_plan(tokenizer: Tokenizer, tmp_path: Path, seconds: float) -> None:
    maker = Maker(tokenizer, "test", seconds)
    for number in range(4):
        scene, _ = maker.clip(number)
        times, per_grid = sample_times(scene)
        write_clip(scene, tmp_path / "clip.mp4")
        info = probe(tmp_path / "clip.mp4")
        plan = plan_frames(info, FrameRequest(max_pixels=SIZE * SIZE, min_pixels=SIZE * SIZE))
        assert (plan.width, plan.height) == (SIZE, SIZE)
        assert [info.times[i] for i in plan.indices] == pytest.approx(times, abs=1e-4)
        assert plan.second_per_grid == pytest.approx(per_grid)
        layout = build_layout([1, 0, 2], (8, 8, 8), plan.second_per_grid, video_token_id=0)
        assert (layout.positions[0, 1:-1:16] - 1).tolist() == maker.sample(number, "see").steps.tolist()


def test_patches_are_those_vt_gives_to_an_engine() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    expected, grid = patchify(frames, MEAN, STD)
    assert grid == (8, 8, 8)
    np.testing.assert_allclose(patches(torch.from_numpy(frames)[None]).reshape(-1, 1176), expected, atol=1e-6)


@pytest.mark.parametrize("with_prompt", [True, False])
def test_the_shared_forward_equals_the_stock_one(
    tokenizer: Tokenizer, model: Qwen2_5_VLForConditionalGeneration, with_prompt: bool
) -> None:
    forward = SharedForward(model)
    batch = next(batches(Maker(tokenizer, "train"), "tell", 0, 1, 3))
    prefix = torch.tensor(tokenizer.encode(prefix_text()).ids if with_prompt else [], dtype=torch.long)
    with torch.inference_mode():
        video = forward.see(torch.from_numpy(batch.frames))
        hidden = forward.read(prefix, video, torch.from_numpy(batch.steps), torch.from_numpy(batch.ids))
        logits = forward.logits(hidden.last)
        for row in range(3):
            pixels = patches(torch.from_numpy(batch.frames[row : row + 1])).reshape(-1, 1176)
            pad = model.config.video_token_id
            # A grid step whose positions are the batch's: from 1 to 6 half seconds in sixteenths.
            layout = next(
                found
                for step in range(8, 60)
                for found in [build_layout([*prefix, pad, *batch.ids[row]], (8, 8, 8), step / 16, video_token_id=pad)]
                if (found.positions[0, len(prefix) :][:128:16] - len(prefix)).tolist() == batch.steps[row].tolist()
            )
            stock = model(
                input_ids=torch.from_numpy(layout.input_ids)[None],
                pixel_values_videos=pixels,
                video_grid_thw=torch.tensor([[8, 8, 8]]),
                position_ids=torch.from_numpy(layout.positions)[:, None],
            ).logits[0, len(prefix) + 128 :]
            torch.testing.assert_close(logits[row], stock, atol=2e-5, rtol=1e-4)


def test_only_the_response_is_learned_and_the_answer_weighs_most(tokenizer: Tokenizer) -> None:
    for number in range(20):
        sample = Maker(tokenizer, "train", 8.0).practice(number, "derive")
        text = tokenizer.decode(sample.ids[sample.weights > 0].tolist(), skip_special_tokens=False)
        assert "At first" not in text and text.endswith("</answer><|im_end|>")
        answer = tokenizer.decode(sample.ids[sample.weights == 3].tolist())
        if f"({answer[0]}). " in text:
            assert answer[0] == answer[1]  # the letter found, and given
            answer = answer[0]
        assert f"<answer>{answer}</answer>" in text and answer


def test_the_plain_base_learns_to_tell_without_a_question(tokenizer: Tokenizer) -> None:
    for number in range(8):
        sample = Maker(tokenizer, "train").sample(number, "tell")
        order, reply = tokenizer.decode(sample.ids.tolist(), skip_special_tokens=False).split("assistant\n")
        assert any(words in order for words in ORDERS)
        learned = tokenizer.decode(sample.ids[sample.weights > 0].tolist(), skip_special_tokens=False)
        assert reply.strip() == learned.strip() and learned.endswith("<|im_end|>")
        assert "<time>" in learned and "<answer>" not in learned


@pytest.mark.parametrize("task", ["conclude", "derive", "choose"])
def test_practice_teaches_what_follows_from_what_is_told(tokenizer: Tokenizer, task: str) -> None:
    for number in range(20):
        maker = Maker(tokenizer, "train", 8.0)
        sample = maker.practice(number, task)
        learned = tokenizer.decode(sample.ids[sample.weights > 0].tolist(), skip_special_tokens=False)
        assert ("<time>" in learned) == (task == "derive")
        assert learned.endswith("</answer><|im_end|>") and "At first" not in learned


def test_letters_are_learned_from_options_that_are_much_alike(tokenizer: Tokenizer) -> None:
    for number in range(20):
        sample = Maker(tokenizer, "train", 8.0).practice(number, "letters")
        text = tokenizer.decode(sample.ids.tolist(), skip_special_tokens=False)
        walk, asked = text.split("\nSo ", 1)
        letters = {line[3:-4]: line[0] for line in walk.split("\n")}
        assert len(letters) == OPTIONS and all(f"{option} ({letter})" in walk for option, letter in letters.items())
        told = [line.removesuffix(").").rsplit(" (", 1) for line in asked.split("\nSo ")]
        assert sorted(option for option, _ in told) == sorted(letters)
        learned = tokenizer.decode(sample.ids[sample.weights > 0].tolist())
        assert learned == "".join(letters[option] for option, _ in told)


def test_copying_is_learned_from_tokens_told_twice(tokenizer: Tokenizer) -> None:
    batch = next(batches(Maker(tokenizer, "train"), ("copy",), 0, 1, 8))
    for ids, weights in zip(batch.ids, batch.weights, strict=True):
        learned = np.flatnonzero(weights)
        assert len(learned) == 27 and (np.diff(learned) == 1).all()
        assert (ids[learned] == ids[5:32]).all()
    assert (batch.ids < tokenizer.get_vocab_size(with_added_tokens=False)).all()


def test_the_first_heads_begin_by_looking_back(model: Qwen2_5_VLForConditionalGeneration) -> None:
    look_back(model)
    found = []
    for layer in model.model.language_model.layers[:2]:
        layer.self_attn.register_forward_hook(lambda module, inputs, outputs: found.append(outputs[1]))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        model(input_ids=torch.arange(20, 60)[None])
    for layer_heads, distances in zip(found, DISTANCES, strict=True):
        for attention, distance in zip(layer_heads[0], distances, strict=False):
            assert (attention[distance:].argmax(-1) == torch.arange(distance, 40) - distance).all()


def test_every_stage_brings_its_loss_down(
    tokenizer: Tokenizer, model: Qwen2_5_VLForConditionalGeneration, tmp_path: Path
) -> None:
    trainer = Trainer(model, tokenizer, tmp_path / "log.jsonl")
    stage = Stage("tell", "tell", 0, 12, 2, 2e-3, 2e-3, cells=0.1, practice=("derive",))
    same = next(batches(Maker(tokenizer, "train"), "tell", 0, 1, 2))
    optimiser = torch.optim.AdamW(trainer.parameters, lr=1e-3)
    totals = []
    for _ in range(12):
        losses = trainer._clip_losses(same, stage)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        assert model.model.visual.patch_embed.proj.weight.grad.abs().sum() > 0
        optimiser.step()
        optimiser.zero_grad()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_records_tell_what_their_clips_show(tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = records.write_records(tmp_path, 8, workers=1)
    told, lengths = read_records([file], {}), set()
    assert len(told.records) == 16 and not told.problems
    for number, (choice, free) in enumerate(zip(told.records[::2], told.records[1::2], strict=True)):
        info = probe(choice.videos[0])
        assert choice.videos == free.videos and info.width == (CLIP_SIZE if number % 4 == 0 else SIZE)
        assert (choice.kind, free.kind) == ("multiple choice", "exact") and len(choice.options) > 1
        scene, _ = Maker(tokenizer, "train").clip(records.FIRST + number)
        assert info.frames == scene.frames
        assert choice.spans == free.spans == tuple((fact.start, fact.end) for fact in truth(scene))
        lengths.add(scene.duration)
    assert len(lengths) > 1
    before = choice.videos[0].stat().st_mtime_ns
    assert records.write_records(tmp_path, 8, workers=1) == file and choice.videos[0].stat().st_mtime_ns == before


def test_no_clip_is_shown_in_two_stages() -> None:
    spans = [(records.FIRST, records.FIRST + records.CLIPS), (shapes.FIRST, shapes.FIRST + 400_000)]
    spans += [(stage.first, stage.first + stage.steps * stage.size) for stage in STAGES]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(span for span in spans if span[0] < span[1])))


def test_a_written_checkpoint_opens_under_the_published_names(
    tokenizer: Tokenizer, model: Qwen2_5_VLForConditionalGeneration, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    write_files(tmp_path, tokenizer)
    state = {published_name(k): v for k, v in untied(model).items()}
    assert {"visual.patch_embed.proj.weight", "model.embed_tokens.weight"} <= set(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path)
    again = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(again.state_dict()["model.visual.merger.mlp.2.bias"], state["visual.merger.mlp.2.bias"])
    assert checkpoint.weights.parameters == sum(v.numel() for v in state.values())
    assert checkpoint.frame_pixels() == (SIZE * SIZE, SIZE * SIZE)
