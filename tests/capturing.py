"""What a step must not do to be captured by CUDA, seen without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "lift_fresh", "item")
"""Operations whose result's value or size the processor must know, or whose data comes from it."""


class Waits(TorchDispatchMode):
    """Notes operations of `WAITS` while it is entered, and the shapes of what all others gave."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.shapes: list[tuple[int, ...]] = []

    def around(self, work: Callable[[], Any]) -> Callable[[], None]:
        """`work`, watched."""

        def watched() -> None:
            with self:
                work()

        return watched

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.found.append(name)
        result = func(*args, **(kwargs or {}))
        if hasattr(result, "shape"):
            self.shapes.append(tuple(result.shape))
        return result
