"""torchvision under a CPU build of torch: its wheel needs two operators that only its CUDA build registers."""

from __future__ import annotations

from typing import Any

_declared: list[Any] = []  # an operator lives as long as its library


def declare_operators() -> None:
    """Declares the operators for this process; nothing that is measured uses them."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
