"""torchvision under a CPU build of torch: its wheel asks for two operators that only its CUDA build registers."""

from __future__ import annotations

from typing import Any

_declared: list[Any] = []  # an operator lives as long as its library


def declare_operators() -> None:
    """Declares them for this process; none of what is measured uses them."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
