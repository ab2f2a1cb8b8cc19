"""How much memory one question takes, from the checkpoint's sizes alone: nothing is loaded to find out."""

from __future__ import annotations

from vtcli.engines.device import SMALL
from vtcli.errors import ModelError
from vtcli.models.checkpoint import Checkpoint


def memory_by_part(checkpoint: Checkpoint, grid: tuple[int, int, int], tokens: int) -> dict[str, int]:
    """Bytes of `weights`, `kv` (keys and values of `tokens` positions), `vision` and their `total`.

    Values take 2 bytes, or 4 in a small model, which runs in float32 everywhere. `grid` is (T, H, W) in patches.
    `vision` is the peak inside one layer of the vision tower: the patches
    themselves, the residual stream and its normalised copy, and the wider of the attention's q, k, v and output
    and the gated feed-forward's two halves. A lower bound: frameworks add workspace of their own.
    Raises ModelError where config.json lacks a size.
    """
    try:
        values = _values(checkpoint, grid, tokens)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{checkpoint.name}: config.json lacks a usable size ({error})") from error
    bytes_per_value = 4 if checkpoint.weights.parameters <= SMALL else 2
    parts = {name: count * bytes_per_value for name, count in values.items()}
    return parts | {"total": sum(parts.values())}


def _values(checkpoint: Checkpoint, grid: tuple[int, int, int], tokens: int) -> dict[str, int]:
    text, vision = checkpoint.text_config, checkpoint.vision_config
    heads = int(text["num_attention_heads"])
    head_size = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
    kv_heads = int(text.get("num_key_value_heads") or heads)
    hidden, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
    patch = 3 * checkpoint.temporal_patch_size * checkpoint.patch_size**2
    return {
        "weights": checkpoint.weights.parameters,
        "kv": 2 * int(text["num_hidden_layers"]) * kv_heads * head_size * tokens,
        "vision": grid[0] * grid[1] * grid[2] * (patch + 2 * hidden + max(4 * hidden, 2 * inner)),
    }
