"""A model folder with nothing but its JSON files and one handwritten weight: all that reading a checkpoint needs."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import clip  # noqa: F401  # the fixture
from tests.engines.conftest import random_checkpoint  # noqa: F401  # the fixture
from tests.shards import write_sharded

CONFIG: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "torch_dtype": "bfloat16",
    "eos_token_id": 7,
    "video_token_id": 9,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vision_config": {"hidden_size": 32, "intermediate_size": 48, "tokens_per_second": 2},
}
TEXT = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def nested(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration as transformers 5 writes it."""
    text: dict[str, Any] = {key: config[key] for key in TEXT}
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    rest = {key: value for key, value in config.items() if key not in (*TEXT, "rope_scaling", "torch_dtype")}
    return rest | {"text_config": text, "dtype": "bfloat16"}


def write_weights(file: Path, values: int = 6) -> None:
    """A safetensors file of one float32 tensor."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * values))


def write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "a-model"
    place.mkdir()
    write_json(place / "config.json", CONFIG)
    write_json(place / "generation_config.json", {"eos_token_id": [7, 5], "repetition_penalty": 1.05})
    write_json(
        place / "preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3], "min_pixels": 4, "max_pixels": 12544}
    )
    write_weights(place / "model.safetensors")
    return place


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` as a sharded checkpoint, as a repository holds it."""
    pytest.importorskip("torch")
    return write_sharded(tmp_path_factory.mktemp("published") / "sharded")


@pytest.fixture(scope="session")
def ggufs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` as GGUF files of two types with one projector."""
    pytest.importorskip("llama_cpp")
    from vtcli.models.checkpoint import open_checkpoint
    from vtcli.models.export import export

    folder = tmp_path_factory.mktemp("published") / "gguf"
    for quant in ("Q8_0", "F16"):
        export(open_checkpoint("tiny"), folder, quant)
    return folder
