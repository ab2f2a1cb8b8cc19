"""llama.cpp as shipped by llama-cpp-python: loaded once, with its log silenced and its last error kept."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from functools import cache
from typing import Any

from vtcli.install import require

_ERROR = 4  # GGML_LOG_LEVEL_ERROR


class Library:
    """The loaded library; `llama` and `mtmd` are the modules of its ctypes declarations."""

    def __init__(self) -> None:
        # Threads that spin while waiting slow a busy machine many times over. OpenMP reads this at its first use.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a failed assertion would start a debugger
        import llama_cpp.llama_cpp as llama
        import llama_cpp.mtmd_cpp as mtmd

        self.llama: Any = llama
        self.mtmd: Any = mtmd
        self._said = threading.local()  # per thread: the vision tower is loaded in the background
        self._heard = llama.llama_log_callback(self._hear)  # keeps the callback alive while the library may call it
        llama.llama_log_set(self._heard, ctypes.c_void_p(0))
        mtmd.mtmd_log_set(self._heard, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(self._heard, ctypes.c_void_p(0))
        llama.llama_backend_init()

    @property
    def may_repack(self) -> bool:
        """Whether weights may be repacked into layouts specific to the CPU, which is faster.

        False where repacking means AMX: in builds by GCC, the first AMX product is an illegal instruction that ends the
        process (ggml-org/llama.cpp#26954: nothing keeps the tile sizes from being optimised away).
        """
        return b"AMX_INT8 = 1" not in self.llama.llama_print_system_info()

    def last_error(self) -> str:
        """Returns the last error logged in this thread, without the function's name."""
        said = getattr(self._said, "last", "it does not say why")
        return re.sub(r"^[\w:~]+: (?:error: )?", "", said).strip()

    def forget_errors(self) -> None:
        """Clears this thread's last error, so that `last_error` only reports later ones."""
        self._said.__dict__.clear()

    def _hear(self, level: int, text: bytes, _: object) -> None:
        if level == _ERROR and text.strip():
            self._said.last = text.decode(errors="replace").strip()


def require_library() -> None:
    """Raises EngineError with the install command if llama.cpp is missing."""
    require("the llama.cpp engine", "gguf", "llama_cpp")


@cache
def library() -> Library:
    """Loads llama.cpp. Raises EngineError with the install command if it is missing."""
    require_library()
    return Library()
