"""Map the tensors of a Qwen2.5-VL checkpoint to the tensors of the two GGUF files.

Names are llama.cpp's (gguf-py/gguf/tensor_mapping.py, conversion/qwenvl.py). Nothing is permuted. The vision tower's
joint query, key and value are split, and its patch embedding over two frames becomes one tensor per frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtcli.errors import ModelError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.export.stored import Stored

Values = NDArray[np.generic]
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.proj": "attn_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_WITH_BIAS = ("attn_q", "attn_k", "attn_v")  # in the text model
_WITHOUT_BIAS = ("ln1", "ln2")  # in the vision tower
_SINGLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "visual.merger.ln_q": "v.post_ln",
    "visual.merger.mlp.0": "mm.0",
    "visual.merger.mlp.2": "mm.2",
}


EMBEDDING = "token_embd.weight"


@dataclass(frozen=True)
class Piece:
    """A tensor of a GGUF file: its name, its shape in numpy's order, and the source of its values."""

    name: str
    shape: tuple[int, ...]
    source: Stored
    take: Callable[[Values], Values]

    def read(self) -> Values:
        """Returns the values, in the source's precision."""
        return np.ascontiguousarray(self.take(self.source.read()))


def text_pieces(tensors: Mapping[str, Stored], tied: bool) -> list[Piece]:
    """Returns the text model's tensors; with `tied` embeddings, a redundantly stored output layer is left out."""
    names = (name for name in tensors if not name.startswith("visual.") and not (tied and name == "lm_head.weight"))
    return list(_pieces(tensors, names))


def vision_pieces(tensors: Mapping[str, Stored]) -> list[Piece]:
    """Returns the vision tower's tensors."""
    return list(_pieces(tensors, (name for name in tensors if name.startswith("visual."))))


def check_complete(checkpoint: Checkpoint, text: Iterable[Piece], vision: Iterable[Piece], tied: bool) -> None:
    """Raises ModelError if a tensor is missing; without some of them llama.cpp would still run, with other answers."""
    found = {piece.name for piece in (*text, *vision)}
    layers, blocks = int(checkpoint.text_config["num_hidden_layers"]), int(checkpoint.vision_config["depth"])
    names = [name for name in _SINGLE.values() if not (tied and name == "output")]
    biased = [name for name in names if name.startswith("mm.")]
    for layer in range(layers):
        names += [f"blk.{layer}.{name}" for name in _LAYER.values()]
        biased += [f"blk.{layer}.{name}" for name in _WITH_BIAS]
    for block in range(blocks):
        of_block = [*_BLOCK.values(), *_WITH_BIAS]
        names += [f"v.blk.{block}.{name}" for name in of_block]
        biased += [f"v.blk.{block}.{name}" for name in of_block if name not in _WITHOUT_BIAS]
    wanted = {"v.patch_embd.weight", *(f"{name}.weight" for name in names), *(f"{name}.bias" for name in biased)}
    missing = sorted(wanted - found)
    if missing:
        raise ModelError(f"{checkpoint.name} lacks {len(missing)} tensors, first {missing[0]}: it is incomplete")


def _pieces(tensors: Mapping[str, Stored], names: Iterable[str]) -> Iterator[Piece]:
    for name in sorted(names, key=_order):
        yield from _split(name, tensors[name])


def _order(name: str) -> list[int | str]:
    """Sort key with numbers by value, so that layer 10 comes after layer 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _split(name: str, source: Stored) -> Iterator[Piece]:
    stem, _, kind = name.rpartition(".")
    if name == "visual.patch_embed.proj.weight":
        wide, channels, frames, height, width = source.shape
        for frame, ending in zip(range(frames), ("", ".1"), strict=True):
            one = (wide, channels, height, width)
            yield Piece(f"v.patch_embd.weight{ending}", one, source, lambda values, frame=frame: values[:, :, frame])  # type: ignore[misc]
    elif match := re.fullmatch(r"visual\.blocks\.(\d+)\.attn\.qkv", stem):
        third = source.shape[0] // 3
        for number, letter in enumerate("qkv"):
            part = slice(number * third, (number + 1) * third)
            shape = (third, *source.shape[1:])
            yield Piece(f"v.blk.{match[1]}.attn_{letter}.{kind}", shape, source, lambda values, part=part: values[part])  # type: ignore[misc]
    elif target := _renamed(stem):
        yield Piece(f"{target}.{kind}", source.shape, source, lambda values: values)
    else:
        raise ModelError(f"{source.file}: {source.name} has no place in a GGUF file of this family")


def _renamed(stem: str) -> str | None:
    if stem in _SINGLE:
        return _SINGLE[stem]
    for pattern, names, prefix in (
        (r"model\.layers\.(\d+)\.(.+)", _LAYER, "blk"),
        (r"visual\.blocks\.(\d+)\.(.+)", _BLOCK, "v.blk"),
    ):
        match = re.fullmatch(pattern, stem)
        if match and match[2] in names:
            return f"{prefix}.{match[1]}.{names[match[2]]}"
    return None
