"""Converts a recipe's stage to the arguments of transformers' Trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vtcli.errors import UsageError
from vtcli.install import require
from vtcli.train.recipe import Grpo, Recipe, Stage
from vtcli.train.records import Record

if TYPE_CHECKING:
    from datasets import Dataset


def arguments(recipe: Recipe, stage: Stage, folder: str, devices: int, records: Sequence[Record]) -> dict[str, Any]:
    """Returns keyword arguments of SFTConfig and GRPOConfig. Raises UsageError unless batch divides over devices."""
    import torch

    check_stage(stage, devices)
    group = stage.group if isinstance(stage, Grpo) else 1
    return {
        "output_dir": folder,
        "per_device_train_batch_size": stage.per_device * group,
        "gradient_accumulation_steps": stage.batch // (stage.per_device * devices),
        "num_train_epochs": stage.epochs,
        "max_steps": stage.max_steps or -1,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup_steps,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm or math.inf,  # with 0, non-finite gradients would go unnoticed
        "adam_beta1": stage.beta1,
        "adam_beta2": stage.beta2,
        "optim": stage.optimizer,
        "gradient_checkpointing": stage.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if stage.gradient_checkpointing else None,
        "bf16": recipe.compute == "bfloat16",
        "logging_steps": stage.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": stage.save_every,
        "eval_strategy": "no",
        "report_to": [],
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        # An example without a video gives the vision tower no gradient.
        "ddp_find_unused_parameters": not all(record.shown for record in records),
        # `vt train` has silenced the libraries already; their default would undo that.
        "log_level": "error",
        "log_level_replica": "error",
    }


def check_stage(stage: Stage, devices: int) -> None:
    """Raises UsageError or EngineError for what would otherwise end a stage only when it begins.

    That may be days into the run.
    """
    from vtcli.train.rewards import find_reward

    name = "grpo" if isinstance(stage, Grpo) else "sft"
    if stage.batch % (stage.per_device * devices):
        raise UsageError(
            f"{name}.batch {stage.batch} is no multiple of {name}.per_device {stage.per_device} x {devices} devices"
        )
    _check_optimizer(stage.optimizer)
    for reward in stage.rewards if isinstance(stage, Grpo) else ():
        find_reward(reward)


def _check_optimizer(name: str) -> None:
    from transformers.training_args import OptimizerNames

    if name not in set(OptimizerNames):
        raise UsageError(f"no such optimizer: {name} (transformers has {', '.join(sorted(OptimizerNames))})")
    if "8bit" in name:
        require(f"the optimizer {name}", "bitsandbytes", "bitsandbytes")


def numbered(count: int) -> Dataset:
    """Returns a Dataset of the records' numbers: TRL takes only datasets' Dataset."""
    from datasets import Dataset

    return Dataset.from_dict({"number": list(range(count))})
