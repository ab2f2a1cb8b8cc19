"""The processes of a run: how they are joined, how weights are spread over them, and what they must agree on."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from vtcli.errors import DataError, UsageError

T = TypeVar("T")
Strategy = Literal["ddp", "fsdp", "zero2", "zero3"]
"""ddp: all of the model in each process, also where there is one; fsdp, zero3: weights, gradients and optimizer are
spread over them; zero2: gradients and optimizer."""

_PATIENCE = timedelta(hours=24)
"""The first process reads all videos while the others wait; torch ends a GPU's process after 10 minutes of that."""


def join(compute: str) -> Any:
    """accelerate's state, of this process and those it was launched with.

    What precision they compute in is the recipe's to say: transformers takes a launcher's word where none is said.
    """
    import torch
    from accelerate import PartialState

    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if compute == "bfloat16" else "no"
    state: Any = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    if state.num_processes > 1 and strategy().startswith("zero"):
        from deepspeed import comm  # accelerate sees to it on GPUs alone

        comm.init_distributed(dist_backend=state.backend, auto_mpi_discovery=False, verbose=False)
    return state


def strategy() -> Strategy:
    """As the launcher tells."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return "fsdp"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return "zero3" if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" else "zero2"
    return "ddp"


def agreed(state: Any, value: T) -> T:
    """The first process's `value`, in all of them."""
    if state.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    told = [value]
    broadcast_object_list(told)
    return told[0]


def check_same(state: Any, value: str, what: str) -> None:
    """Raises DataError in all processes where one has another `value` of `what`: they would wait for each other."""
    if state.num_processes == 1:
        return
    from accelerate.utils import gather_object

    if len(set(gather_object([value]))) > 1:
        raise DataError(f"the processes do not have the same {what}: see that all machines have the same files")


def check_shared(state: Any, file: Path) -> None:
    """Raises UsageError unless every process sees `file`, which the first has written."""
    if state.num_processes == 1:
        return
    from accelerate.utils import gather_object

    if not all(gather_object([file.is_file()])):
        raise UsageError(f"not every process sees {file}: --out must be a folder that all machines share")
