"""The one error tree: what can go wrong and the exit code each kind ends with.

VtError
├── UsageError    the command was given something that cannot mean anything (exit 2)
├── VideoError    a video that cannot be read as asked
├── ModelError    a checkpoint that is missing, incomplete, unsafe or of another kind
├── TrainError    training data that cannot be used, or a run that cannot go on
└── EngineError   an engine that is not installed or failed while running

Every message is one line that says what is wrong and what to do.
"""

from __future__ import annotations


class VtError(Exception):
    """Base of all errors a user may see; `exit_code` is the process's status (cli.md)."""

    exit_code = 1


class UsageError(VtError):
    """Flags or arguments that contradict each other or the video."""

    exit_code = 2


class VideoError(VtError):
    """The file is missing, is not a video, or holds no frame where one was asked for."""


class ModelError(VtError):
    """The checkpoint is missing, incomplete, unsafe or of another architecture."""


class TrainError(VtError):
    """Training data cannot be used, or a run cannot be begun or go on."""


class EngineError(VtError):
    """The engine is not installed, or failed while running."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
