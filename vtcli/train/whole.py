"""Provides the model with all its weights on this device, for sampling, however training spreads them."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

T = TypeVar("T")
_METHOD = "_vt_with_whole_weights"


def with_whole_weights(trainer: Any, use: Callable[[Any], T]) -> T:
    """Calls `use` with the transformers model of a trainer, adapters in place, and returns its result.

    Sampling runs the model's parts separately and takes another number of steps on each device. Sharded weights are
    therefore gathered for the whole call: by FSDP2 through a method of its root, by ZeRO-3 as TRL does.
    """
    from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

    model: Any = trainer.model
    accelerator = trainer.accelerator
    if getattr(trainer, "is_deepspeed_enabled", False):
        from trl.models import unwrap_model_for_generation

        # Turns gradient checkpointing off meanwhile, and on again with these settings.
        settings = trainer.args.gradient_checkpointing_kwargs
        with unwrap_model_for_generation(
            trainer.model_wrapped, accelerator, gradient_checkpointing_kwargs=settings
        ) as gathered:
            return use(_base(gathered))
    sharded: bool = isinstance(model, FSDPModule)
    if not sharded:
        return use(_base(accelerator.unwrap_model(model)))
    parts: list[Any] = [part for part in model.modules() if isinstance(part, FSDPModule)]

    def run(self: Any) -> T:
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            return use(_base(self))
        finally:
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(True, recurse=False)

    setattr(model, _METHOD, MethodType(run, model))
    register_fsdp_forward_method(model, _METHOD)
    try:
        result: T = getattr(model, _METHOD)()
        return result
    finally:
        delattr(model, _METHOD)


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
