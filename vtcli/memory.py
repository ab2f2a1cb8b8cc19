"""Estimate the memory of one question from the checkpoint's sizes alone, and suggest what would fit if it does not.

Nothing is loaded: the numbers come from config.json, the headers of the weights and the planned frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtcli.engines.device import SMALL
from vtcli.errors import EngineError, ModelError
from vtcli.models.checkpoint import Checkpoint
from vtcli.tokens import FRAME_FACTOR, IMAGE_FACTOR, video_token_count


@dataclass(frozen=True)
class Clip:
    """The sizes that determine a question's memory: frames of `height` x `width` pixels, and text tokens.

    `text` counts the prompt's text tokens and the maximum number of reply tokens.
    """

    frames: int
    height: int
    width: int
    text: int


def memory_by_part(
    checkpoint: Checkpoint, clip: Clip, value_bytes: int | None = None, device: str = "cuda"
) -> dict[str, int]:
    """Returns the bytes of `weights`, `kv` (the KV cache of all tokens), `vision` and their `total`.

    `value_bytes` is the size of one value: by default 2, or 4 for a small model, which runs in float32 everywhere. GGUF
    files use their own types instead. `vision` is the peak inside one layer of the vision tower, which exceeds the peak
    of prefill over the clip's tokens: the patches, plus the larger of feed-forward and attention. In half precision,
    attention rotates queries and keys in float32; on a CPU, a few patches at a time. Frameworks need workspace in
    addition. Raises ModelError if config.json lacks a size.
    """
    each = value_bytes or (4 if checkpoint.weights.parameters <= SMALL else 2)
    try:
        values = _values(checkpoint, clip, wide=each < 4 and device != "cpu")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{checkpoint.name}: config.json lacks a usable size ({error})") from error
    parts = {name: count * each for name, count in values.items()}
    if checkpoint.is_gguf:  # weights as stored, KV cache in float16 (float32 for F32), the rest in float32
        kv = values["kv"] * (4 if checkpoint.quant == "F32" else 2)
        parts = {"weights": checkpoint.weights.bytes, "kv": kv, "vision": 4 * values["vision"]}
    return parts | {"total": sum(parts.values())}


def check_fit(checkpoint: Checkpoint, clip: Clip, value_bytes: int, device: str, free: int) -> None:
    """Raises EngineError, naming what would fit, if the question needs more than the `free` bytes of `device`."""
    parts = memory_by_part(checkpoint, clip, value_bytes, device)
    if parts["total"] > free:
        need = f"weights {_gb(parts['weights'])}, keys and values {_gb(parts['kv'])}, vision {_gb(parts['vision'])}"
        raise EngineError(
            f"{checkpoint.name} needs {_gb(parts['total'])} GB on {device} ({need}) and {_gb(free)} GB are free: "
            + advice(checkpoint, clip, value_bytes, device, free)
        )


def advice(checkpoint: Checkpoint, clip: Clip, value_bytes: int, device: str, free: int) -> str:
    """Returns a remedy for insufficient memory: fewer or smaller frames, or another model or device."""

    def fits(other: Clip) -> bool:
        return memory_by_part(checkpoint, other, value_bytes, device)["total"] <= free

    choices = []
    if fewer := most_frames(checkpoint, clip, value_bytes, device, free, limit=clip.frames - 1):
        choices.append(f"--frames {fewer}")
    if (smaller := next(filter(fits, _smaller(clip)), None)) is not None:
        choices.append(f"--max-pixels {smaller.height * smaller.width}")
    if choices:
        return f"{' or '.join(choices)} would fit"
    elsewhere = "" if device == "cpu" else ", or --device cpu"
    return f"no number of frames would fit; use a smaller or a quantised model{elsewhere}"


def most_frames(checkpoint: Checkpoint, clip: Clip, value_bytes: int, device: str, free: int, limit: int = 768) -> int:
    """Returns the most frames of this size that fit in `free` bytes of `device`: even, at most `limit`, 0 if none."""
    low, high = 0, limit // FRAME_FACTOR
    while low < high:
        middle = (low + high + 1) // 2
        tried = Clip(middle * FRAME_FACTOR, clip.height, clip.width, clip.text)
        if memory_by_part(checkpoint, tried, value_bytes, device)["total"] <= free:
            low = middle
        else:
            high = middle - 1
    return low * FRAME_FACTOR


def _smaller(clip: Clip) -> Iterator[Clip]:
    """Yields clips with the frame area halved repeatedly, down to one token."""
    height, width = clip.height, clip.width
    while max(height, width) > IMAGE_FACTOR:
        scale = 0.5**0.5
        height, width = (max(IMAGE_FACTOR, int(s * scale) // IMAGE_FACTOR * IMAGE_FACTOR) for s in (height, width))
        yield Clip(clip.frames, height, width, clip.text)


def _values(checkpoint: Checkpoint, clip: Clip, wide: bool) -> dict[str, int]:
    """Returns the number of values of each part. `wide`: vision attention rotates all patches at once, in float32."""
    text, vision = checkpoint.text_config, checkpoint.vision_config
    heads = int(text["num_attention_heads"])
    head_size = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
    kv_heads = int(text.get("num_key_value_heads") or heads)
    hidden, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
    patch = 3 * checkpoint.temporal_patch_size * checkpoint.patch_size**2
    grid = checkpoint.grid(clip.frames, clip.height, clip.width)
    tokens = clip.text + video_token_count(grid, checkpoint.merge_size)
    # Counted tensor by tensor during runs; llama.cpp rotates in place.
    widest = 4 * hidden + 3 * inner
    if checkpoint.is_gguf:
        widest = 2 * hidden + max(4 * hidden, 2 * inner)
    elif wide:
        widest = max(widest, 18 * hidden)
    return {
        "weights": checkpoint.weights.parameters,
        "kv": 2 * int(text["num_hidden_layers"]) * kv_heads * head_size * tokens,
        "vision": grid[0] * grid[1] * grid[2] * (patch + widest),
    }


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f}"
