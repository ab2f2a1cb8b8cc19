"""Checkpoints that parity is tried on: `tiny`, and random ones with the 7B's heads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from vtcli.models import catalogue

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "chat_template.json")
PROCESSOR_FILES = ("preprocessor_config.json", "generation_config.json")


def tiny() -> Path:
    """The embedded model's folder."""
    path = catalogue.entries()["tiny"].path
    assert path is not None
    return path


def with_heads_of_the_7b(folder: Path, tied: bool) -> Path:
    """Writes a random checkpoint: head size 128, M-RoPE sections 16/24/24, theta 1e6, windowed vision; 3 layers.

    Names and layout are those of published Qwen2.5-VL checkpoints; the tokenizer is that of `tiny`. Weights are wide
    enough for replies that vary.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from vtcli.models.weights import published_name
    from vtcli.train.tiny.__main__ import untied

    folder.mkdir(parents=True)
    for name in (*TOKENIZER_FILES, *PROCESSOR_FILES):
        shutil.copy(tiny() / name, folder / name)
    config = _config(tied)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    processor = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    processor |= {"min_pixels": 3136, "max_pixels": 12845056}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    torch.manual_seed(7)
    model: Any = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).float()
    # Without biases in query and key, as initialised, positions would matter little.
    for name, values in model.named_parameters():
        if name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")):
            torch.nn.init.normal_(values, std=0.25)
    weights = untied(model) if tied else {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(
        {published_name(k): v for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    return folder


def _config(tied: bool) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((tiny() / "config.json").read_text(encoding="utf-8"))
    return config | {
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 3,
        "max_window_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "initializer_range": 0.045,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "vision_config": config["vision_config"]
        | {"hidden_size": 160, "num_heads": 2, "depth": 3, "out_hidden_size": 512, "fullatt_block_indexes": [2]},
    }
