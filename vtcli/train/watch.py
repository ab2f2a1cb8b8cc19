"""Stops a run that trains blind: with videos in the prompt that the vision tower does not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vtcli.errors import TrainError


class VisionWatch:
    """Watches a model's vision tower; `patches` counts the rows it was given."""

    def __init__(self, model: Any, name: str = "the model") -> None:
        self.patches = 0
        self._name = name
        vision = next(module for path, module in model.named_modules() if path.endswith("visual"))
        vision.register_forward_pre_hook(self._called, with_kwargs=True)

    def _called(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = arguments[0] if arguments else next(iter(named.values()))
        self.patches += len(given)

    @contextmanager
    def expecting(self, patches: int) -> Iterator[None]:
        """Raises TrainError unless the tower is given at least `patches` rows inside the context."""
        before = self.patches
        yield
        seen = self.patches - before
        if seen < patches:
            raise TrainError(
                f"{self._name} was trained blind: its vision tower was given {seen} of {patches} patches; "
                "this is a fault of vt or of its libraries' versions, please report it"
            )
