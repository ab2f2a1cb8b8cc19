"""The processes of a run: how they join, how weights are spread over them, and what they must agree on."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from vtcli.errors import DataError, UsageError

T = TypeVar("T")
Strategy = Literal["ddp", "fsdp", "zero2", "zero3"]
"""How a model is spread over processes.

ddp: each process holds the whole model, also if it is the only one. fsdp, zero3: weights, gradients and optimizer are
spread over the processes. zero2: gradients and optimizer are.
"""

_PATIENCE = timedelta(hours=24)
"""How long processes wait for each other.

The first process reads all videos while the others wait; torch would end a GPU's process after 10 minutes.
"""


def join(compute: str) -> Any:
    """Joins this process to those launched with it; returns accelerate's state.

    The recipe sets the precision they compute in: if it is not set, transformers takes the launcher's.
    """
    import torch
    from accelerate import PartialState

    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if compute == "bfloat16" else "no"
    state: Any = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    if state.num_processes > 1 and strategy().startswith("zero"):
        from deepspeed import comm  # accelerate does this on GPUs only

        comm.init_distributed(dist_backend=state.backend, auto_mpi_discovery=False, verbose=False)
    return state


def strategy() -> Strategy:
    """Returns the strategy that the launcher has set."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return "fsdp"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return "zero3" if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" else "zero2"
    return "ddp"


def agreed(state: Any, value: T) -> T:
    """Returns the first process's `value` in all of them."""
    if state.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    told = [value]
    broadcast_object_list(told)
    return told[0]


def check_same(state: Any, value: str, what: str) -> None:
    """Raises DataError in all processes if one has another `value` of `what`.

    They would otherwise wait for each other.
    """
    if state.num_processes == 1:
        return
    from accelerate.utils import gather_object

    if len(set(gather_object([value]))) > 1:
        raise DataError(f"the processes do not have the same {what}: see that all machines have the same files")


def check_shared(state: Any, file: Path) -> None:
    """Raises UsageError unless every process sees `file`, which the first one has written."""
    if state.num_processes == 1:
        return
    from accelerate.utils import gather_object

    if not all(gather_object([file.is_file()])):
        raise UsageError(f"not every process sees {file}: --out must be a folder that all machines share")
