"""Loads the model to train and saves it for `vt ask`: the base's own files around the new weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtcli.engines.device import Placement
from vtcli.engines.loading import load_model, quiet
from vtcli.engines.vision import quicken
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.files import read_json
from vtcli.models.tokenizer import Tokenizer
from vtcli.train.recipe import Lora, Recipe

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast

#: Files a checkpoint needs besides its weights and config.json; copied byte for byte.
BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
_TEXT = r"(model\.)?language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
_VISION = r"visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)"


def load_for_training(checkpoint: Checkpoint, recipe: Recipe) -> Any:
    """Loads the transformers model on the CPU, with weights in the recipe's dtype. Raises ModelError."""
    from transformers.integrations import deepspeed

    library: Any = deepspeed
    library.unset_hf_deepspeed_config()  # of the stage before: it makes transformers load one shard per process
    model, _ = load_model(checkpoint, Placement("cpu", recipe.weights))
    quicken(model.model.visual)
    if recipe.attention != "sdpa":
        model.set_attn_implementation(recipe.attention)
    # GRPO's reference model is loaded from this path; transformers would look up a bare name on the Hub.
    model.config._name_or_path = model.name_or_path = str(checkpoint.path.resolve())
    if not recipe.train_vision:
        model.model.visual.requires_grad_(False)
        _stop_at_vision(model)
    if recipe.liger:
        use_liger(model)
    return model


def _stop_at_vision(model: Any) -> None:
    """Stops gradients before a vision tower that is not trained.

    For gradient checkpointing with adapters, transformers makes the output of embeddings require gradients, including
    that of the patch embedding.
    """
    model.model.visual.blocks[0].register_forward_pre_hook(lambda _, given: (given[0].detach(), *given[1:]))


def use_liger(model: Any) -> None:
    """Makes `model`, and models of its family loaded after it, compute norms and gated layers with Liger's kernels.

    Leaves out Liger's losses, which would replace TRL's own output layer, and its rotation, which transformers 5 never
    calls. Attention, masks and positions stay vt's.
    """
    from liger_kernel.transformers import apply_liger_kernel_to_qwen2_5_vl

    apply_liger_kernel_to_qwen2_5_vl(
        rope=False, cross_entropy=False, fused_linear_cross_entropy=False, rms_norm=True, swiglu=True, model=model
    )


def lora_config(lora: Lora, vision: bool) -> LoraConfig:
    """Returns peft's configuration of the recipe's adapters."""
    from peft import LoraConfig

    where = f"({_TEXT}|{_VISION})" if vision else _TEXT
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=rf".*{where}", bias="none"
    )


def library_tokenizer(tokenizer: Tokenizer, checkpoint: Checkpoint) -> PreTrainedTokenizerFast:
    """Wraps vt's tokenizer as TRL wants one: for padding, and for the text of completions."""
    from transformers import PreTrainedTokenizerFast

    end = tokenizer.backend.id_to_token(checkpoint.eos_token_ids[0])
    pad = "<|endoftext|>" if tokenizer.backend.token_to_id("<|endoftext|>") is not None else end
    make: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = make(tokenizer_object=tokenizer.backend, eos_token=end, pad_token=pad)
    return made


def copy_beside(base: Path, folder: Path) -> None:
    """Copies the base's tokenizer, template and processor files, none of which training changes."""
    for name in BESIDE:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def store_as(folder: Path, base: Checkpoint) -> None:
    """Stores the checkpoint in `folder` in the dtype its base is published in, if it was trained in a wider one.

    This halves its size, and every engine rounds to that dtype anyway.
    """
    import torch
    from safetensors.torch import load_file, save_file

    name = base.config.get("dtype") or base.config.get("torch_dtype")
    if name not in ("bfloat16", "float16"):
        return
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        stored = {key: value.to(getattr(torch, name)) for key, value in tensors.items()}
        save_file(stored, file, metadata={"format": "pt"})
        size += sum(value.nbytes for value in stored.values())
    config = read_json(folder / "config.json")
    for section in (config, config.get("text_config"), config.get("vision_config")):
        if isinstance(section, dict):
            section["dtype"] = name
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if index := read_json(folder / "model.safetensors.index.json"):
        index["metadata"] = {"total_size": size}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def save_merged(model: Any, base: Path, folder: Path) -> None:
    """Writes a whole checkpoint to `folder`, with adapters, if any, merged into the weights."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
    copy_beside(base, folder)
