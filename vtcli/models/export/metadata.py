"""Write the metadata of the two GGUF files, and refuse checkpoints that a GGUF file cannot represent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vtcli import __version__
from vtcli.errors import ModelError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.gguf_pair import FINGERPRINT, PROJECTOR_TYPE
from vtcli.models.gguf_tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED
from vtcli.models.template import find_template

if TYPE_CHECKING:
    from gguf import GGUFWriter

_WINDOW = 112  # pixels; hard-coded in llama.cpp's tools/mtmd/models/qwen2vl.cpp
_FULL_BLOCKS = [7, 15, 23, 31]  # default if config.json has none, as in transformers
_EPSILON = 1e-6  # of the vision tower's norms; hard-coded in transformers' modeling_qwen2_5_vl.py


@dataclass(frozen=True)
class Source:
    """The source checkpoint: its licence ("" if unknown) and the fingerprint of its weights."""

    licence: str
    fingerprint: str


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer's words by id, their llama.cpp types, and the merges; unused ids hold [PADn]."""

    words: list[str]
    types: list[int]
    merges: list[str]


def check_representable(checkpoint: Checkpoint) -> None:
    """Raises ModelError for a checkpoint that llama.cpp would compute differently from transformers."""
    with _explained(checkpoint):
        wrong = [what for what, holds in _facts(checkpoint).items() if not holds]
    if wrong:
        raise ModelError(f"{checkpoint.name} cannot be a GGUF file: {wrong[0]}")


@contextmanager
def _explained(checkpoint: Checkpoint) -> Iterator[None]:
    """Turns the exceptions of missing and invalid values into ModelError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ModelError(f"{checkpoint.name}: config.json lacks a usable size ({error})") from error


def _count(values: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Returns a value that GGUF stores in 32 bits. Raises KeyError, TypeError or ValueError for another one."""
    number = int(values[key] if default is None else values.get(key) or default)
    if not 0 <= number < 2**32:
        raise ValueError(f"{key} is {number}")
    return number


def _facts(checkpoint: Checkpoint) -> dict[str, bool]:
    """Returns llama.cpp's assumptions: for each, the message if it is violated and whether it holds."""
    text, vision = checkpoint.text_config, checkpoint.vision_config
    blocks = list(vision.get("fullatt_block_indexes", _FULL_BLOCKS))
    step = blocks[0] + 1 if blocks else 0
    rope = _rope(text)
    head = int(text["hidden_size"]) // int(text["num_attention_heads"])
    depth = int(vision["depth"])
    return {
        "frames of a patch are not 2": checkpoint.temporal_patch_size == 2,
        "patches are not merged 2 by 2": checkpoint.merge_size == 2,
        f"the vision tower's windows are not {_WINDOW} pixels": vision.get("window_size", _WINDOW) == _WINDOW,
        "full attention is not in every n-th vision block": bool(blocks)
        and blocks == list(range(step - 1, depth, step)),
        "the activation is not SiLU": {text.get("hidden_act", "silu"), vision.get("hidden_act", "silu")} == {"silu"},
        "pictures are not RGB": int(vision.get("in_channels", vision.get("in_chans", 3))) == 3,
        "positions are scaled": rope.get("rope_type", rope.get("type", "default")) in ("default", "mrope"),
        "positions have no three parts": len(rope.get("mrope_section", ())) == 3
        and 2 * sum(rope["mrope_section"]) == head,
        "heads are of a size of their own": int(text.get("head_dim") or head) == head,
        "attention looks back through a window": not text.get("use_sliding_window"),
        "the projector gives another width": int(vision.get("out_hidden_size", text["hidden_size"]))
        == int(text["hidden_size"]),
    }


def vocabulary(checkpoint: Checkpoint, rows: int) -> Vocabulary:
    """Returns the tokenizer's words for `rows` embeddings.

    Raises ModelError for a tokenizer that is not Qwen2's or has more tokens than `rows`, and if a token that ends
    replies is beyond them.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    from vtcli.models.tokenizer import Tokenizer, as_qwen

    backend = Tokenizer(checkpoint.path).backend
    ours = json.loads(as_qwen(Backend(BPE())).to_str())
    theirs = json.loads(backend.to_str())
    model = theirs["model"]
    same = all(_splitting(theirs[part]) == _splitting(ours[part]) for part in ("normalizer", "pre_tokenizer"))
    if model["type"] != "BPE" or not same:
        raise ModelError(f"{checkpoint.name} has a tokenizer that is not Qwen2's: its GGUF file would read other words")
    if backend.get_vocab_size() > rows:
        raise ModelError(f"{checkpoint.name} has {backend.get_vocab_size()} tokens and {rows} embeddings for them")
    if (last := max(checkpoint.eos_token_ids)) >= rows:
        raise ModelError(f"{checkpoint.name} ends a reply with token {last} and has {rows} embeddings for tokens")
    words = [f"[PAD{number}]" for number in range(rows)]
    types = [UNUSED] * rows
    for word, number in model["vocab"].items():
        words[number], types[number] = word, NORMAL
    for number, token in backend.get_added_tokens_decoder().items():
        words[number], types[number] = token.content, CONTROL if token.special else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary(words, types, merges)


def _splitting(part: Any) -> Any:
    """Returns what affects tokens in a part of tokenizer.json; `trim_offsets` only affects their text offsets."""
    if isinstance(part, dict):
        return {key: _splitting(value) for key, value in part.items() if key != "trim_offsets"}
    return [_splitting(each) for each in part] if isinstance(part, list) else part


def describe_text(writer: GGUFWriter, checkpoint: Checkpoint, words: Vocabulary, source: Source) -> None:
    """Writes everything except the tensors for the text model."""
    text = checkpoint.text_config
    rope = _rope(text)
    _describe(writer, checkpoint, "model", source)
    with _explained(checkpoint):
        writer.add_block_count(_count(text, "num_hidden_layers"))
        writer.add_context_length(_count(text, "max_position_embeddings", 32768))
        writer.add_embedding_length(_count(text, "hidden_size"))
        writer.add_feed_forward_length(_count(text, "intermediate_size"))
        writer.add_head_count(_count(text, "num_attention_heads"))
        writer.add_head_count_kv(_count(text, "num_key_value_heads", _count(text, "num_attention_heads")))
        writer.add_rope_dimension_sections([*map(int, rope["mrope_section"]), 0])
        writer.add_rope_freq_base(float(text.get("rope_theta") or rope["rope_theta"]))
        writer.add_layer_norm_rms_eps(float(text.get("rms_norm_eps", 1e-6)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words.words)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_eos_token_id(checkpoint.eos_token_ids[0])
    writer.add_add_bos_token(False)
    writer.add_chat_template(find_template(checkpoint.path))
    writer.add_array("vtcli.eos_token_ids", list(checkpoint.eos_token_ids))
    writer.add_float32("vtcli.tokens_per_second", checkpoint.tokens_per_second)


def describe_vision(writer: GGUFWriter, checkpoint: Checkpoint, source: Source) -> None:
    """Writes everything except the tensors for the vision tower."""
    vision = checkpoint.vision_config
    _describe(writer, checkpoint, "mmproj", source)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", PROJECTOR_TYPE)
    writer.add_bool("clip.use_silu", True)
    sizes = {
        "projection_dim": (checkpoint.text_config, "hidden_size"),
        "embedding_length": (vision, "hidden_size"),
        "feed_forward_length": (vision, "intermediate_size"),
        "block_count": (vision, "depth"),
        "attention.head_count": (vision, "num_heads"),
    }
    numbers = {
        "image_size": 560,  # size of a warm-up image; vt's frames are never resized to it
        "patch_size": checkpoint.patch_size,
        "n_wa_pattern": int(vision.get("fullatt_block_indexes", _FULL_BLOCKS)[0]) + 1,
        "image_min_pixels": checkpoint.min_pixels,
        "image_max_pixels": checkpoint.max_pixels,
    }
    with _explained(checkpoint):
        for key, size in sizes.items():
            writer.add_uint32(f"clip.vision.{key}", _count(*size))
        for key in numbers:
            writer.add_uint32(f"clip.vision.{key}", _count(numbers, key))
    writer.add_array("clip.vision.image_mean", list(checkpoint.image_mean))
    writer.add_array("clip.vision.image_std", list(checkpoint.image_std))
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", _EPSILON)


def _describe(writer: GGUFWriter, checkpoint: Checkpoint, kind: str, source: Source) -> None:
    writer.add_string("general.type", kind)
    writer.add_string("general.name", checkpoint.name)
    writer.add_string("vtcli.version", __version__)
    writer.add_string(FINGERPRINT, source.fingerprint)
    if source.licence:
        writer.add_string("general.license", source.licence)
    if checkpoint.scope:
        writer.add_string("vtcli.scope", checkpoint.scope)
    writer.add_string("vtcli.prompt", checkpoint.prompt)
    if checkpoint.revision:
        writer.add_string("vtcli.source.revision", checkpoint.revision)


def _rope(text: Mapping[str, Any]) -> Mapping[str, Any]:
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    return rope if isinstance(rope, Mapping) else {}
