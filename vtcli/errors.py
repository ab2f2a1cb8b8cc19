"""The exception hierarchy: what can go wrong, and the exit code of each kind.

VtError
├── UsageError    a command line that has no valid meaning (exit 2)
├── VideoError    a video that cannot be read as asked
├── ModelError    a checkpoint that is missing, incomplete, unsafe or of another kind
├── EngineError   an engine that is not installed or failed while running
├── DataError     annotations, predictions or records that do not match their format
└── TrainError    a training run that cannot start or cannot continue

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
    """A file or record of annotations, predictions or scores does not match its format."""


class TrainError(VtError):
    """A training run cannot start or cannot continue."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type's name if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
