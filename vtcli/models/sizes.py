"""Compute a Qwen2.5-VL's parameter count and the size of its exports from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: llama.cpp's types of a text model → average bits per value, as produced by its own quantiser (docs/gguf.md).
BITS = {
    "F32": 32.0,
    "F16": 16.0,
    "BF16": 16.0,
    "Q8_0": 8.5,
    "Q6_K": 6.6,
    "Q5_K_M": 5.7,
    "Q5_K_S": 5.5,
    "Q4_K_M": 4.9,
    "Q4_K_S": 4.6,
    "Q4_0": 4.6,
    "Q3_K_M": 3.9,
    "Q2_K": 3.0,
}


def export_bytes(config: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], quant: str) -> int:
    """Returns the approximate bytes of a GGUF export: text model in `quant`, vision tower in 16 bits (32 for F32).

    A type that is not in BITS counts as 16 bits.
    """
    tower = vision_parameters(vision, int(text["hidden_size"]))
    tower_bits = 32.0 if quant == "F32" else 16.0
    return int((_text(text, is_tied(config, text)) * BITS.get(quant, 16.0) + tower * tower_bits) / 8)


def count_parameters(config: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]) -> int:
    """Returns the parameter count for `config` with its text and vision parts. Raises KeyError if a size is missing.

    Layers are as in transformers' modeling_qwen2_5_vl: biases on q, k, v and in the whole vision tower except its patch
    embedding; a gated feed-forward in both.
    """
    return _text(text, is_tied(config, text)) + vision_parameters(vision, int(text["hidden_size"]))


def is_tied(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether the output layer shares the embedding's weights."""
    return bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))


def _text(config: Mapping[str, Any], tied: bool) -> int:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    size = int(config.get("head_dim") or hidden // heads)
    wide, narrow = heads * size, int(config.get("num_key_value_heads") or heads) * size
    attention = hidden * (wide + 2 * narrow) + wide + 2 * narrow + wide * hidden
    layer = attention + 3 * hidden * int(config["intermediate_size"]) + 2 * hidden
    vocabulary = int(config["vocab_size"]) * hidden
    return vocabulary * (1 if tied else 2) + int(config["num_hidden_layers"]) * layer + hidden


def vision_parameters(config: Mapping[str, Any], text_hidden: int) -> int:
    """Returns the parameter count of the vision tower."""
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    patch = 3 * int(config.get("temporal_patch_size", 2)) * int(config.get("patch_size", 14)) ** 2
    block = 4 * hidden * hidden + 4 * hidden + 3 * hidden * inner + 2 * inner + hidden + 2 * hidden
    merged = hidden * int(config.get("spatial_merge_size", 2)) ** 2
    out = int(config.get("out_hidden_size", text_hidden))
    merger = hidden + merged * merged + merged + merged * out + out
    return patch * hidden + int(config["depth"]) * block + merger
