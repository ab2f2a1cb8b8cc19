"""What a stage takes of memory and disk, from sizes alone, and what would fit where it does not.

Lower bounds: libraries add workspace of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from vtcli.disk import free_bytes
from vtcli.engines.device import VALUE_BYTES
from vtcli.errors import TrainError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.sizes import vision_parameters
from vtcli.train.processes import Strategy, strategy
from vtcli.train.recipe import Grpo, Lora, Recipe, Stage, StageName

_LAYER_WIDTHS = 8
"""Values a token keeps in a text layer for going back, in widths of the model, its feed-forward's apart."""
VLLM_BLOCK = 32
"""Tokens whose keys and values vLLM keeps, and shares among completions, together."""


@dataclass(frozen=True)
class Devices:
    """count: processes, over which a model is spread by `strategy`. free: bytes of one device."""

    kind: str
    count: int
    strategy: Strategy
    free: int

    @property
    def sharded(self) -> bool:
        """Whether each has a part of the weights only."""
        return self.strategy in ("fsdp", "zero3")

    @property
    def spread(self) -> int:
        """Over how many gradients and the optimizer's state are spread."""
        return 1 if self.strategy == "ddp" else self.count


def devices() -> Devices:
    """What this run has, as accelerate and torchrun tell it."""
    import torch

    from vtcli.engines.room import free_memory, gpu_memory

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    count = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if kind == "cpu":
        return Devices(kind, count, strategy(), free_memory("cpu") // local)
    number = int(os.environ.get("LOCAL_RANK", "0"))
    return Devices(kind, count, strategy(), gpu_memory([number])[0])


def memory(checkpoint: Checkpoint, recipe: Recipe, name: StageName, tokens: int, on: Devices) -> dict[str, int]:
    """Bytes of `weights`, `gradients`, `optimizer`, `reference`, `activations`, `vllm` and their `total` on one device.

    tokens: of the longest prompt, for SFT with its reply. Activations are those of a pass, or keys and values while
    completions are drawn, whichever are more; with either, what autocast keeps of weights that it rounds, or all the
    weights where they are gathered to draw.
    """
    stage = recipe.stage(name)
    text = checkpoint.text_config
    hidden, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
    inner = int(text["intermediate_size"])
    parameters, count = checkpoint.weights.parameters, on.count
    trained, _ = trained_parameters(checkpoint, recipe)
    held = _held(checkpoint, recipe, stage, on)
    rows = stage.per_device
    if isinstance(stage, Grpo):
        length = rows * (
            tokens + stage.group * stage.max_tokens if stage.share else stage.group * (tokens + stage.max_tokens)
        )
    else:
        length = rows * tokens
    value = VALUE_BYTES[recipe.compute]
    one_layer = length * (_LAYER_WIDTHS * hidden + 3 * inner) * value
    kept = 0
    if isinstance(stage, Grpo):  # keys and values while completions are drawn
        kept = _token_bytes(checkpoint, recipe) * (stage.batch // count) * (length // rows)
    activations = length * hidden * layers * value + one_layer if stage.gradient_checkpointing else layers * one_layer
    rounded = on.strategy == "ddp" and recipe.lora is None and VALUE_BYTES[recipe.weights] > value
    copy = trained * value if rounded else 0
    gathered = parameters * value if on.sharded else 0
    parts = held | {"activations": max(activations + copy, kept + copy + gathered)}
    if isinstance(stage, Grpo) and stage.rollouts == "vllm":
        parts["vllm"] = parameters * value + vllm_kept(checkpoint, recipe, count)
    return parts | {"total": sum(parts.values())}


def _held(checkpoint: Checkpoint, recipe: Recipe, stage: Stage, on: Devices) -> dict[str, int]:
    """Bytes of what stays on one device from step to step."""
    parameters = checkpoint.weights.parameters
    trained, trained_width = trained_parameters(checkpoint, recipe)
    width = VALUE_BYTES[recipe.weights]
    if on.strategy == "fsdp" and recipe.lora is None and recipe.compute == "bfloat16":
        width = trained_width = 4  # accelerate makes them float32
    zero = on.strategy.startswith("zero")
    moments = 2 if "8bit" in stage.optimizer else 8 if zero else 2 * trained_width
    if zero:  # DeepSpeed keeps weights in what it computes in, and for the optimizer and sums of gradients float32
        width = VALUE_BYTES[recipe.compute]
        copied = width < 4 or on.strategy == "zero2"  # the optimizer's own weights
        moments, trained_width = moments + (4 if copied else 0), 4
    share = on.count if on.sharded else 1
    reference = isinstance(stage, Grpo) and stage.beta > 0 and recipe.lora is None
    return {
        "weights": parameters * width // share,
        "gradients": trained * trained_width // on.spread,
        "optimizer": trained * moments // on.spread,
        "reference": parameters * width // share if reference else 0,
    }


def vllm_kept(checkpoint: Checkpoint, recipe: Recipe, count: int) -> int:
    """Bytes of keys and values of all that vLLM draws together on one of `count` devices, each prompt once."""
    stage = recipe.grpo
    assert stage is not None
    # A completion's first block is its own although it begins in the prompt's last.
    blocks = _blocks(recipe.data.max_prompt_tokens) + stage.group * (_blocks(stage.max_tokens) + 1)
    return _token_bytes(checkpoint, recipe) * VLLM_BLOCK * (stage.batch // count * blocks + 1)


def _blocks(tokens: int) -> int:
    return -(-tokens // VLLM_BLOCK)


def _token_bytes(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Bytes of a token's keys and values in all layers, as they are computed."""
    text = checkpoint.text_config
    heads = int(text["num_attention_heads"])
    size = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
    narrow = int(text.get("num_key_value_heads") or heads) * size
    return 2 * int(text["num_hidden_layers"]) * narrow * VALUE_BYTES[recipe.compute]


def trained_parameters(checkpoint: Checkpoint, recipe: Recipe) -> tuple[int, int]:
    """How many weights the optimizer updates, and bytes of one; adapters are kept in float32."""
    if recipe.lora is None:
        hidden = int(checkpoint.text_config["hidden_size"])
        still = 0 if recipe.train_vision else vision_parameters(checkpoint.vision_config, hidden)
        return checkpoint.weights.parameters - still, VALUE_BYTES[recipe.weights]
    return adapter_parameters(checkpoint, recipe.lora), VALUE_BYTES["float32"]


def adapter_parameters(checkpoint: Checkpoint, lora: Lora) -> int:
    """Parameters of adapters in every linear layer of the text model."""
    text = checkpoint.text_config
    hidden, inner = int(text["hidden_size"]), int(text["intermediate_size"])
    heads = int(text["num_attention_heads"])
    size = int(text.get("head_dim") or hidden // heads)
    narrow = int(text.get("num_key_value_heads") or heads) * size
    ends = 2 * (hidden + heads * size) + 2 * (hidden + narrow) + 3 * (hidden + inner)
    return lora.rank * ends * int(text["num_hidden_layers"])


def rounds_away(recipe: Recipe, on: Devices) -> bool:
    """Whether the optimizer updates weights that are kept in bfloat16, where they are kept in nothing else.

    In 50 steps of AdamW at 1e-5, 85 of 100 weights stayed what they were.
    """
    return recipe.lora is None and recipe.weights == "bfloat16" and on.strategy == "ddp"


def check_memory(checkpoint: Checkpoint, recipe: Recipe, name: StageName, tokens: int, on: Devices) -> dict[str, int]:
    """`memory`, or TrainError where it is more than a device has free, with what would fit."""
    parts = memory(checkpoint, recipe, name, tokens, on)
    if parts["total"] <= on.free:
        return parts
    listed = ", ".join(f"{part} {_gb(size)}" for part, size in parts.items() if part != "total" and size)
    raise TrainError(
        f"{name} needs {_gb(parts['total'])} GB on each {on.kind} device ({listed}) and {_gb(on.free)} GB are free: "
        + _advice(checkpoint, recipe, name, tokens, on)
    )


def _advice(checkpoint: Checkpoint, recipe: Recipe, name: StageName, tokens: int, on: Devices) -> str:
    stage = recipe.stage(name)

    def with_stage(**changes: object) -> Recipe:
        changed = replace(stage, **changes)  # type: ignore[arg-type]
        return replace(recipe, sft=changed) if name == "sft" else replace(recipe, grpo=changed)  # type: ignore[arg-type]

    tries = {
        f"--set {name}.gradient_checkpointing=true": with_stage(gradient_checkpointing=True),
        f"--set {name}.per_device=1": with_stage(per_device=1, gradient_checkpointing=True),
        f"--set {name}.optimizer=adamw_8bit": with_stage(
            per_device=1, gradient_checkpointing=True, optimizer="adamw_8bit"
        ),
        "--set lora.rank=64 --set weights=bfloat16": replace(recipe, lora=Lora(), weights="bfloat16"),
    }
    for what, other in tries.items():
        if other != recipe and memory(checkpoint, other, name, tokens, on)["total"] <= on.free:
            return f"{what} would fit"
    for count in (2, 4, 8, 16, 32):
        if memory(checkpoint, recipe, name, tokens, replace(on, count=count, strategy="fsdp"))["total"] <= on.free:
            return f"{count} such devices with their weights spread would hold it (vt train --print-launch fsdp2)"
    return "use a smaller model, or fewer frames or tokens"


def check_disk(checkpoint: Checkpoint, recipe: Recipe, stages: list[StageName], out: Path, on: Devices) -> None:
    """Raises TrainError where the disk has no room for the checkpoints that lie there at once, and the models."""
    parameters, width = checkpoint.weights.parameters, VALUE_BYTES[recipe.weights]
    trained, trained_width = trained_parameters(checkpoint, recipe)
    one = trained * (trained_width + 2 * trained_width)
    if on.strategy.startswith("zero"):  # DeepSpeed's optimizer keeps weights of its own, and ZeRO-2 the model once more
        computed = VALUE_BYTES[recipe.compute]
        one = trained * (12 + computed) + (parameters * computed if on.strategy == "zero2" else 0)
    most = max((recipe.stage(name).keep + 1 for name in stages), default=0)
    free = free_bytes(out)
    models = len(stages) * parameters * width
    need = most * one + models
    if need > free:
        raise TrainError(
            f"{out} needs {_gb(need)} GB (checkpoints {_gb(most * one)}, models {_gb(models)}) and {_gb(free)} GB are "
            "free: make room, or keep fewer checkpoints (--set sft.keep=1)"
        )


def steps(stage: Stage, records: int) -> int:
    """Optimizer steps of a stage: in GRPO `iterations` with the completions of each batch."""
    each = records // stage.batch * (stage.iterations if isinstance(stage, Grpo) else 1)
    return stage.max_steps or max(1, ceil(stage.epochs * each))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
