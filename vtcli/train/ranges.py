"""Ranges of a recipe's numbers, declared beside each field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`; `above` excludes `low`, `below` excludes `high`.

    note: what else a user should know about them.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    note: str = ""

    def holds(self, value: float) -> bool:
        """Whether `value` is in the range."""
        enough = value > self.low if self.above else value >= self.low
        small = value < self.high if self.below else value <= self.high
        return enough and small and abs(value) != math.inf  # no comparison holds for NaN

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:.10g} or more"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:.10g}"
        said = [text for end, text in ((self.low, low), (self.high, high)) if math.isfinite(end)]
        return (" and ".join(said) or "a finite number") + (f" ({self.note})" if self.note else "")


AtLeast0 = Annotated[int, Range(0)]
AtLeast1 = Annotated[int, Range(1)]
Finite = Annotated[float, Range()]
Above0 = Annotated[float, Range(0, above=True)]
NotBelow0 = Annotated[float, Range(0)]
Below1 = Annotated[float, Range(0, 1, below=True)]
