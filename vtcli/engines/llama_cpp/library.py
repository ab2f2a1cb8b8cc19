"""llama.cpp as llama-cpp-python ships it: loaded once, quiet, its last words kept for error messages."""

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
    """`llama` and `mtmd` are the modules of ctypes declarations."""

    def __init__(self) -> None:
        # Threads that wait by spinning slow a busy machine many times over; read when OpenMP is first used.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a failed assertion would start a debugger
        import llama_cpp.llama_cpp as llama
        import llama_cpp.mtmd_cpp as mtmd

        self.llama: Any = llama
        self.mtmd: Any = mtmd
        self._said = threading.local()  # the tower is loaded beside everything else
        self._heard = llama.llama_log_callback(self._hear)  # kept, or the library would call what is gone
        llama.llama_log_set(self._heard, ctypes.c_void_p(0))
        mtmd.mtmd_log_set(self._heard, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(self._heard, ctypes.c_void_p(0))
        llama.llama_backend_init()

    @property
    def may_repack(self) -> bool:
        """Whether weights may be kept in orders of the processor's own, which is quicker.

        Not where that means AMX: compiled by GCC, its first product is an illegal instruction that ends the process
        (ggml-org/llama.cpp#26954: nothing keeps the tiles' sizes from being optimised away).
        """
        return b"AMX_INT8 = 1" not in self.llama.llama_print_system_info()

    def last_error(self) -> str:
        """The last thing it complained of in this thread, without the function's name."""
        said = getattr(self._said, "last", "it does not say why")
        return re.sub(r"^[\w:~]+: (?:error: )?", "", said).strip()

    def forget_errors(self) -> None:
        """So that `last_error` is of what comes now."""
        self._said.__dict__.clear()

    def _hear(self, level: int, text: bytes, _: object) -> None:
        if level == _ERROR and text.strip():
            self._said.last = text.decode(errors="replace").strip()


def require_library() -> None:
    """EngineError with the command that installs it where llama.cpp is missing."""
    require("the llama.cpp engine", "gguf", "llama_cpp")


@cache
def library() -> Library:
    """Loads it. Raises EngineError with the command that installs it where it is missing."""
    require_library()
    return Library()
