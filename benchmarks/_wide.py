"""Makes a checkpoint with the 7B's widths, any number of layers and random weights, which do not affect speed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtcli.models.checkpoint import open_checkpoint

TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "chat_template.json")
NEVER = 152_000
"""A row of the embedding that no tokenizer uses.

It is the token that ends a reply, so that all replies have the requested length.
"""
SHARD = 2**31  # bytes


def make_checkpoint(folder: Path, layers: int, blocks: int) -> Path:
    """Writes sharded safetensors in bfloat16 and the tokenizer of `tiny`; an existing checkpoint is kept.

    layers: out of 28 in the text model. blocks: out of 32 in the vision tower.
    """
    if (folder / "model.safetensors.index.json").exists():
        return folder
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from vtcli.models.weights import published_name

    folder.mkdir(parents=True, exist_ok=True)
    tiny = open_checkpoint("tiny")
    for name in TOKENIZER:
        shutil.copy(tiny.path / name, folder / name)
    config = _config(dict(tiny.config), layers, blocks)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [NEVER], "do_sample": False}))
    processor = json.loads((tiny.path / "preprocessor_config.json").read_text(encoding="utf-8"))
    processor |= {"min_pixels": 3136, "max_pixels": 12845056}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    with torch.device("meta"):
        model: Any = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config))
    shapes = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    index = {}
    dice = torch.Generator().manual_seed(0)
    for number, names in enumerate(_shards(shapes)):
        file = f"model-{number:05}.safetensors"
        tensors = {}
        for name in names:
            published = published_name(name)
            norm = "norm" in name or "ln_q" in name
            values = torch.ones(shapes[name]) if norm else 0.02 * torch.randn(shapes[name], generator=dice)
            tensors[published], index[published] = values.to(torch.bfloat16), file
        save_file(tensors, folder / file, metadata={"format": "pt"})
    facts = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def _shards(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        count = 2
        for side in shape:
            count *= side
        if names and size + count > SHARD:
            yield names
            names, size = [], 0
        names.append(name)
        size += count
    yield names


def _config(tiny: dict[str, Any], layers: int, blocks: int) -> dict[str, Any]:
    vision = tiny["vision_config"] | {
        "depth": blocks,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [block for block in range(blocks) if block % 8 == 7],
    }
    return tiny | {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": layers,
        "max_window_layers": layers,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 128000,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": False,
        "eos_token_id": NEVER,
        "vision_config": vision,
    }
