"""Read the small files of a model folder, with one-line errors for unreadable ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError


def read_json(file: Path) -> dict[str, Any]:
    """Returns a JSON object from disk, {} if the file does not exist. Raises ModelError if it is anything else."""
    try:
        if not file.is_file():
            return {}
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not JSON (a failed download?)") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} does not hold a JSON object")
    return value
