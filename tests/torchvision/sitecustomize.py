"""On PYTHONPATH, with the checkout: torchvision's wheel beside a CPU build of torch, in this process and its children.

Its operators are declared when it is looked for, so that a process that has no use for it does not import torch.
"""

from __future__ import annotations

import sys
from typing import Any


class _Declaring:
    done = False

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torchvision" and not self.done:
            self.done = True
            from benchmarks._torchvision import declare_operators

            declare_operators()


sys.meta_path.insert(0, _Declaring())
