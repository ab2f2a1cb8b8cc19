"""Keeps two things in float32 whatever dtype a sharded model computes in.

These are sums of gradients, and the rotary angles that encode a frame's time. A log-probability in bfloat16 is too
coarse for GRPO, whose KL term is made of differences. A gradient in bfloat16 loses what is small beside the sum it is
added to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from vtcli.errors import TrainError


def sum_in_float32(state: Any) -> None:
    """Makes accelerate's plugins in `state` sum gradients in float32; call it before the model is prepared.

    FSDP2 also rounds what goes in and out of a layer, positions included: that is turned off. DeepSpeed would send and
    add gradients in the compute dtype.
    """
    policy = getattr(getattr(state, "fsdp_plugin", None), "mixed_precision_policy", None)
    if policy is not None and policy.param_dtype is not None:
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=policy.param_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    zero = getattr(state, "deepspeed_plugin", None)
    if zero is not None:
        zero.deepspeed_config["communication_data_type"] = "fp32"
        zero.deepspeed_config["data_types"] = {"grad_accum_dtype": "fp32"}


def check_angles(model: Any) -> None:
    """Raises TrainError if the rotary frequencies were rounded, as old releases of DeepSpeed did to a whole model.

    In bfloat16 they are off by up to 0.4 %. At position 1,000 the angles are then off by radians, so the model would
    learn wrong times.
    """
    for name, values in model.named_buffers():
        if name.endswith("inv_freq") and values.dtype != torch.float32:
            raise TrainError(
                f"{name} was rounded to {str(values.dtype).removeprefix('torch.')}: times would be learned wrong; "
                "where DeepSpeed spreads the model, its release 0.19 does not round it"
            )
