"""The one error tree: what can go wrong and the exit code each kind ends with.

VtError
├── UsageError    the command was given something that cannot mean anything (exit 2)
├── VideoError    a video that cannot be read as asked
├── ModelError    a checkpoint that is missing, incomplete, unsafe or of another kind
├── EngineError   an engine that is not installed or failed while running
├── DataError     annotations, predictions or records that are not what their format says
└── TrainError    a training run that cannot be begun, or cannot go on

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


class EngineError(VtError):
    """The engine is not installed, or failed while running."""


class DataError(VtError):
    """A file or record of annotations, predictions or scores that is not what its format says."""


class TrainError(VtError):
    """A training run cannot be begun, or cannot go on."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
