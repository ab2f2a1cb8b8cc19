"""The estimate against numbers that are known: those of the true 7B, measured elsewhere per token and file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vtcli.errors import ModelError
from vtcli.memory import memory_by_part
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


def test_keys_and_values_of_the_7b_take_what_llama_cpp_measures() -> None:
    parts = memory_by_part(checkpoint(8_292_166_656), (8, 16, 30), tokens=1000)
    assert parts["kv"] == 57_344 * 1000
    assert parts["weights"] == 16_584_333_312
    assert parts["total"] == parts["weights"] + parts["kv"] + parts["vision"]


def test_a_small_model_is_counted_in_float32() -> None:
    assert memory_by_part(checkpoint(5_000_000), (8, 8, 8), 1)["weights"] == 20_000_000


def test_vision_grows_with_the_clip_and_keys_with_the_tokens() -> None:
    one, more = (memory_by_part(checkpoint(10**9), (t, 16, 30), n) for t, n in ((8, 1000), (32, 4000)))
    assert more["vision"] == 4 * one["vision"] and more["kv"] == 4 * one["kv"]


def test_a_config_without_sizes_is_one_line() -> None:
    bare = replace(checkpoint(1), text_config={})
    with pytest.raises(ModelError, match=r"config\.json lacks"):
        memory_by_part(bare, (8, 8, 8), 1)
