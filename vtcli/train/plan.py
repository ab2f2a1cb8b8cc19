"""Estimates the memory and disk space of a stage from sizes alone, and what would fit if it does not.

The estimates are lower bounds: libraries add workspace of their own.
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
"""Values per token that a text layer keeps for the backward pass, in hidden sizes, without the feed-forward's."""
VLLM_BLOCK = 32
"""Tokens per block of vLLM's KV cache, the unit it shares among completions."""


@dataclass(frozen=True)
class Devices:
    """The devices of a run.

    count: processes, over which a model is spread by `strategy`. free: bytes of one device.
    """

    kind: str
    count: int
    strategy: Strategy
    free: int

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the weights."""
        return self.strategy in ("fsdp", "zero3")

    @property
    def spread(self) -> int:
        """The number of processes that gradients and the optimizer's state are spread over."""
        return 1 if self.strategy == "ddp" else self.count


def devices() -> Devices:
    """Returns what this run has, according to accelerate and torchrun."""
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

    tokens: of the longest prompt, for SFT with its reply. `activations` is the larger of two amounts: the activations
    of a pass, and the KV cache while completions are drawn. Both include the rounded weights that autocast keeps; the
    second also includes all the weights if they are gathered to draw.
    """
    stage = recipe.stage(name)
    text = checkpoint.text_config
    hidden, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
    inner = int(text["intermediate_size"])
    parameters, count = checkpoint.weights.parameters, on.count
    trained = trained_parameters(checkpoint, recipe)
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
    if isinstance(stage, Grpo):  # the KV cache while completions are drawn
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
    """Returns the bytes that stay on one device from step to step."""
    parameters = checkpoint.weights.parameters
    trained = trained_parameters(checkpoint, recipe)
    width, trained_width = weight_bytes(recipe, on)
    zero = on.strategy.startswith("zero")
    moments = 2 if "8bit" in stage.optimizer else 8 if zero else 2 * trained_width
    if zero:  # DeepSpeed keeps weights in the compute dtype; the optimizer and sums of gradients are float32
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
    """Returns the bytes of vLLM's KV cache for all it draws at once on one of `count` devices, each prompt once."""
    stage = recipe.grpo
    assert stage is not None
    # Each completion needs its own copy of the block in which the prompt ends.
    blocks = _blocks(recipe.data.max_prompt_tokens) + stage.group * (_blocks(stage.max_tokens) + 1)
    return _token_bytes(checkpoint, recipe) * VLLM_BLOCK * (stage.batch // count * blocks + 1)


def _blocks(tokens: int) -> int:
    return -(-tokens // VLLM_BLOCK)


def _token_bytes(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Returns the bytes of a token's keys and values in all layers, in the compute dtype."""
    text = checkpoint.text_config
    heads = int(text["num_attention_heads"])
    size = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
    narrow = int(text.get("num_key_value_heads") or heads) * size
    return 2 * int(text["num_hidden_layers"]) * narrow * VALUE_BYTES[recipe.compute]


def weight_bytes(recipe: Recipe, on: Devices) -> tuple[int, int]:
    """Returns the bytes of a weight of the model, and of a weight that the optimizer updates.

    Adapters are kept in float32, and accelerate converts what FSDP trains to float32.
    """
    kept = VALUE_BYTES[recipe.weights]
    if recipe.lora is not None:
        return kept, VALUE_BYTES["float32"]
    if on.strategy == "fsdp" and recipe.compute == "bfloat16":
        kept = VALUE_BYTES["float32"]
    return kept, kept


def trained_parameters(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Returns how many weights the optimizer updates."""
    if recipe.lora is not None:
        blocks = _vision_adapter(checkpoint) if recipe.train_vision else 0
        return recipe.lora.rank * (_text_adapter(checkpoint) + blocks)
    hidden = int(checkpoint.text_config["hidden_size"])
    still = 0 if recipe.train_vision else vision_parameters(checkpoint.vision_config, hidden)
    return checkpoint.weights.parameters - still


def _text_adapter(checkpoint: Checkpoint) -> int:
    """Returns the parameters of adapters of rank 1 in every linear layer of the text model."""
    text = checkpoint.text_config
    hidden, inner = int(text["hidden_size"]), int(text["intermediate_size"])
    heads = int(text["num_attention_heads"])
    size = int(text.get("head_dim") or hidden // heads)
    narrow = int(text.get("num_key_value_heads") or heads) * size
    ends = 2 * (hidden + heads * size) + 2 * (hidden + narrow) + 3 * (hidden + inner)
    return ends * int(text["num_hidden_layers"])


def _vision_adapter(checkpoint: Checkpoint) -> int:
    """Returns the parameters of adapters of rank 1 in every linear layer of the vision tower's blocks."""
    vision = checkpoint.vision_config
    hidden, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
    ends = (hidden + 3 * hidden) + 2 * hidden + 3 * (hidden + inner)
    return ends * int(vision["depth"])


def rounds_away(recipe: Recipe, on: Devices) -> bool:
    """Whether the optimizer updates weights that are kept in bfloat16 only.

    In 50 steps of AdamW at 1e-5, 85 of 100 weights did not change.
    """
    return recipe.lora is None and recipe.weights == "bfloat16" and on.strategy == "ddp"


def check_memory(checkpoint: Checkpoint, recipe: Recipe, name: StageName, tokens: int, on: Devices) -> dict[str, int]:
    """Returns `memory`; if a device has less free, raises TrainError that says what would fit."""
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
    """Raises TrainError if the disk has no room for the checkpoints that exist at the same time and the models."""
    parameters, trained = checkpoint.weights.parameters, trained_parameters(checkpoint, recipe)
    width, trained_width = weight_bytes(recipe, on)
    one = trained * (trained_width + 2 * trained_width)
    if on.strategy.startswith("zero"):  # DeepSpeed's optimizer has weights of its own, and ZeRO-2 saves the model again
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
    """Returns the optimizer steps of a stage; GRPO makes `iterations` with the completions of each batch."""
    each = records // stage.batch * (stage.iterations if isinstance(stage, Grpo) else 1)
    return stage.max_steps or max(1, ceil(stage.epochs * each))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
