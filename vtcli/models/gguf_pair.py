"""A GGUF model of the Qwen2.5-VL family: one file for its text model and one for its vision tower, the projector.

Metadata keys are llama.cpp's (gguf-py/gguf/constants.py, tools/mtmd/clip-impl.h). `vt export` adds `vtcli.*` keys for
values that have no key in llama.cpp; for files from other tools, the family's values are used instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError
from vtcli.models.gguf import Gguf, is_gguf, read_gguf
from vtcli.prompt import known_style

TEXT_ARCHITECTURE = "qwen2vl"
PROJECTOR_TYPE = "qwen2.5vl_merger"
TOKENS_PER_SECOND = 2
"""The value of every published Qwen2.5-VL (config.json of the 3B, 7B, 32B and 72B)."""
_ENDS = ("<|im_end|>", "<|endoftext|>")
FINGERPRINT = "vtcli.source.fingerprint"
"""Metadata key of the fingerprint of the weights a file was exported from (`models.fingerprint`)."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The two files, and their metadata under the names of config.json and the other JSON files."""

    text: Gguf
    projector: Gguf

    @property
    def name(self) -> str:
        """The text file's name without its suffix."""
        return self.text.path.stem

    @property
    def revision(self) -> str | None:
        """The commit of the source checkpoint, None if the file does not record it."""
        value = self.text.metadata.get("vtcli.source.revision")
        return None if value is None else str(value)

    @property
    def scope(self) -> str:
        """The catalogue's `scope` of the source checkpoint, "" if the file does not record it."""
        return str(self.text.metadata.get("vtcli.scope", ""))

    @property
    def prompt(self) -> str:
        """The key in `vtcli.prompt.PROMPTS` of the prompt the checkpoint was trained with."""
        return known_style(self.text.metadata.get("vtcli.prompt"))

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.projector.parameters

    @property
    def bytes(self) -> int:
        return self.text.bytes + self.projector.bytes

    @property
    def quant(self) -> str:
        """The type that holds most of the text model's values."""
        values: Counter[str] = Counter()
        for tensor in self.text.tensors.values():
            values[tensor.type] += prod(tensor.shape)
        return values.most_common(1)[0][0] if values else "F32"

    @property
    def config(self) -> dict[str, Any]:
        """The values of config.json. Raises ModelError if a size is missing."""
        try:
            return self._config()
        except KeyError as error:
            raise ModelError(f"{self.text.path} or its projector lacks {error}: vt cannot run it") from error
        except TypeError as error:
            raise ModelError(f"{self.text.path} or its projector is damaged: {error}") from error

    @property
    def processor(self) -> dict[str, Any]:
        """The values of preprocessor_config.json."""
        of, clip = self.projector.metadata, "clip.vision."
        names = {"image_mean": "image_mean", "image_std": "image_std", "patch_size": "patch_size"}
        names |= {"min_pixels": "image_min_pixels", "max_pixels": "image_max_pixels"}
        return {ours: of[clip + theirs] for ours, theirs in names.items() if clip + theirs in of}

    @property
    def generation(self) -> dict[str, Any]:
        """The value of generation_config.json: the ids that end a reply."""
        of = self.text.metadata
        if "vtcli.eos_token_ids" in of:
            return {"eos_token_id": of["vtcli.eos_token_ids"]}
        listed = [of[key] for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id") if key in of]
        words = self._words
        return {"eos_token_id": list(dict.fromkeys([*listed, *(words[end] for end in _ENDS if end in words)]))}

    def _config(self) -> dict[str, Any]:
        text, vision, words = self.text.metadata, self.projector.metadata, self._words
        own, clip = f"{TEXT_ARCHITECTURE}.", "clip.vision."
        return {
            "model_type": "qwen2_5_vl",
            "hidden_size": text[own + "embedding_length"],
            "intermediate_size": text[own + "feed_forward_length"],
            "num_hidden_layers": text[own + "block_count"],
            "num_attention_heads": text[own + "attention.head_count"],
            "num_key_value_heads": text[own + "attention.head_count_kv"],
            "vocab_size": len(words),
            "max_position_embeddings": text.get(own + "context_length"),
            "tie_word_embeddings": "output.weight" not in self.text.tensors,
            "video_token_id": words["<|video_pad|>"],
            "vision_config": {
                "hidden_size": vision[clip + "embedding_length"],
                "intermediate_size": vision[clip + "feed_forward_length"],
                "depth": vision[clip + "block_count"],
                "num_heads": vision[clip + "attention.head_count"],
                "out_hidden_size": vision[clip + "projection_dim"],
                "patch_size": vision[clip + "patch_size"],
                "tokens_per_second": text.get("vtcli.tokens_per_second", TOKENS_PER_SECOND),
            },
        }

    @cached_property
    def _words(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.text.metadata["tokenizer.ggml.tokens"])}


def find_pair(path: Path, projector: Path | None = None) -> Pair:
    """Returns the model in the GGUF file or folder `path`, with `projector` or the projector beside it.

    Raises ModelError if the file is not a text model of the family, or if its projector is missing, belongs to another
    model or is ambiguous.
    """
    text = read_gguf(_text_file(path) if path.is_dir() else path)
    if text.architecture == "clip":
        raise ModelError(f"{path} is a projector: give the text model with -m and this with --mmproj")
    if text.architecture != TEXT_ARCHITECTURE:
        raise ModelError(
            f"{path} is a {text.architecture or 'nameless'} model: vt runs the Qwen2.5-VL family ({TEXT_ARCHITECTURE})"
        )
    if not text.tensors:
        raise ModelError(f"{path} holds a vocabulary and no model")
    if "split.count" in text.metadata and int(text.metadata["split.count"]) > 1:
        raise ModelError(f"{path} is a part of a split model: merge the parts first (llama-gguf-split --merge)")
    if projector is not None:
        return Pair(text, _checked(read_gguf(projector), text))
    return Pair(text, _beside(text))


def _text_file(folder: Path) -> Path:
    found = [file for file in sorted(folder.glob("*.gguf")) if is_gguf(file) and not is_projector(file)]
    if len(found) != 1:
        listed = ", ".join(file.name for file in found[:3]) or "projectors only"
        raise ModelError(f"{folder} holds {len(found)} text models ({listed}): name one with -m FILE.gguf")
    return found[0]


def is_projector(file: Path) -> bool:
    """Whether the file's name marks it as a vision tower."""
    return "mmproj" in file.name.lower()


def _beside(text: Gguf) -> Gguf:
    """Returns the matching projector in the folder of `text`; of several for the same model, the most exact."""
    fitting = list(_fitting(text))
    if not fitting:
        raise ModelError(
            f"{text.path} has no projector beside it (a file with mmproj in its name): "
            "get the one of this model and name it with --mmproj FILE"
        )
    if len({_of_model(one) for one in fitting}) > 1:
        names = ", ".join(one.path.name for one in fitting)
        raise ModelError(f"{text.path} has several projectors beside it ({names}): choose one with --mmproj FILE")
    return max(fitting, key=lambda one: one.bytes)


def _of_model(projector: Gguf) -> tuple[object, ...]:
    """Returns a key of the projector's model: fine-tunes of one size share tensor shapes but have different names."""
    named = tuple(str(projector.metadata.get(f"general.{key}", "")) for key in ("name", "basename", "finetune"))
    return (*named, *sorted((tensor.name, tensor.shape) for tensor in projector.tensors.values()))


def _fitting(text: Gguf) -> Iterator[Gguf]:
    for file in sorted(text.path.parent.glob("*.gguf")):
        if is_projector(file) and is_gguf(file):
            try:
                yield _checked(read_gguf(file), text)
            except ModelError:
                continue


def _checked(projector: Gguf, text: Gguf) -> Gguf:
    """Returns `projector` if it matches `text`; raises ModelError otherwise."""
    of, name = projector.metadata, projector.path
    if projector.architecture != "clip" or not of.get("clip.has_vision_encoder"):
        raise ModelError(f"{name} is not a projector of a vision tower")
    kind = of.get("clip.projector_type") or of.get("clip.vision.projector_type")
    if kind != PROJECTOR_TYPE:
        raise ModelError(f"{name} is a {kind} projector: vt runs the Qwen2.5-VL family ({PROJECTOR_TYPE})")
    wide, needed = of.get("clip.vision.projection_dim"), text.metadata.get(f"{TEXT_ARCHITECTURE}.embedding_length")
    if wide != needed:
        raise ModelError(f"{name} belongs to another model: it gives {wide} values a token, {text.path} takes {needed}")
    theirs, ours = of.get(FINGERPRINT), text.metadata.get(FINGERPRINT)
    if theirs and ours and theirs != ours:
        raise ModelError(f"{name} was exported from another checkpoint than {text.path}")
    return projector
