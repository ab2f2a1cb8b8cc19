"""The estimate against numbers that are known: those of the true 7B, measured elsewhere per token and file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vtcli.errors import EngineError, ModelError
from vtcli.memory import Clip, check_fit, memory_by_part, most_frames
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.weights import Weights

TEXT_7B = {"num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584, "num_hidden_layers": 28}
VISION_7B = {"hidden_size": 1280, "intermediate_size": 3420}


def checkpoint(parameters: int, text: dict[str, Any] = TEXT_7B) -> Checkpoint:
    return Checkpoint(
        name="some",
        path=Path("some"),
        revision=None,
        config={},
        text_config=text,
        vision_config=VISION_7B,
        image_mean=(0, 0, 0),
        image_std=(1, 1, 1),
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        tokens_per_second=2,
        video_token_id=1,
        eos_token_ids=(2,),
        min_pixels=3136,
        max_pixels=12845056,
        weights=Weights((), parameters, 2 * parameters),
    )


PAPER = Clip(frames=16, height=224, width=420, text=1400)
SEVEN_B = 8_292_166_656


def test_keys_and_values_of_the_7b_take_what_llama_cpp_measures() -> None:
    parts = memory_by_part(checkpoint(SEVEN_B), Clip(16, 224, 420, text=40))
    assert parts["kv"] == 57_344 * 1000  # 960 tokens of video
    assert parts["weights"] == 16_584_333_312
    assert parts["total"] == parts["weights"] + parts["kv"] + parts["vision"]


def test_the_vision_tower_of_the_7b_takes_what_was_counted() -> None:
    """Numbers a patch, by the sizes of all tensors alive while it ran, on a GPU's way through it and a processor's."""
    for value_bytes, device, counted in ((2, "cuda", 23_265), (2, "cpu", 15_605), (4, "cuda", 16_094)):
        vision = memory_by_part(checkpoint(SEVEN_B), Clip(16, 336, 336, text=40), value_bytes, device)["vision"]
        assert 0.95 < vision / (value_bytes * counted * 8 * 24 * 24) < 1.07


def test_a_small_model_is_counted_in_float32() -> None:
    assert memory_by_part(checkpoint(5_000_000), PAPER)["weights"] == 20_000_000


def test_vision_grows_with_the_clip_and_keys_with_the_tokens() -> None:
    one, more = (memory_by_part(checkpoint(10**9), Clip(n, 224, 420, text=10 * n)) for n in (16, 64))
    assert more["vision"] == 4 * one["vision"] and more["kv"] == 4 * one["kv"]


def test_a_config_without_sizes_is_one_line() -> None:
    bare = replace(checkpoint(1), text_config={})
    with pytest.raises(ModelError, match=r"config\.json lacks"):
        memory_by_part(bare, PAPER)


def test_what_fits_is_let_pass_to_the_byte() -> None:
    need = memory_by_part(checkpoint(SEVEN_B), PAPER)["total"]
    check_fit(checkpoint(SEVEN_B), PAPER, 2, "cuda", need)
    with pytest.raises(EngineError):
        check_fit(checkpoint(SEVEN_B), PAPER, 2, "cuda", need - 1)


def test_what_does_not_fit_is_told_with_what_would() -> None:
    """The advice is followed: with it, the question fits."""
    model, clip = checkpoint(SEVEN_B), replace(PAPER, frames=64)
    free = memory_by_part(model, replace(clip, frames=24))["total"]
    with pytest.raises(
        EngineError, match=r"needs 17\.\d GB on cuda .* --frames 24 or --max-pixels \d+ would fit"
    ) as error:
        check_fit(model, clip, 2, "cuda", free)
    pixels = int(str(error.value).split("--max-pixels ")[1].split()[0])
    sides = next((h, w) for h in range(28, 448, 28) for w in range(28, 448, 28) if h * w == pixels)
    check_fit(model, replace(clip, frames=24), 2, "cuda", free)
    check_fit(model, Clip(64, *sides, clip.text), 2, "cuda", free)


@pytest.mark.parametrize(("device", "elsewhere"), [("cuda", True), ("cpu", False)])
def test_weights_that_do_not_fit_need_another_model_or_device(device: str, elsewhere: bool) -> None:
    with pytest.raises(EngineError, match="no number of frames would fit; use a smaller or a quantised model") as error:
        check_fit(checkpoint(SEVEN_B), PAPER, 2, device, 8_000_000_000)
    assert ("--device cpu" in str(error.value)) == elsewhere


def test_most_frames_is_the_last_number_that_fits() -> None:
    model = checkpoint(SEVEN_B)
    free = memory_by_part(model, replace(PAPER, frames=40))["total"]
    assert most_frames(model, PAPER, 2, "cuda", free) == 40
    assert most_frames(model, PAPER, 2, "cuda", free - 1) == 38
    assert most_frames(model, PAPER, 2, "cuda", 10**12) == 768
    assert most_frames(model, PAPER, 2, "cuda", 10**9) == 0
