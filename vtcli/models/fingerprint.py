"""Distinguish the weights of checkpoints without reading gigabytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from vtcli.models.checkpoint import Checkpoint

_BLOCK = 4096
_SAMPLES = 64


def fingerprint(checkpoint: Checkpoint) -> str:
    """Returns 64 hex digits: a hash of the configuration, and of each weights file's size and evenly spaced blocks.

    Further training changes the weights nearly everywhere, and therefore in some blocks. A change of only a few tensors
    may fall between the blocks.
    """
    facts = [checkpoint.config, checkpoint.image_mean, checkpoint.image_std]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in checkpoint.weights.files:
        _sample(file, digest)
    return digest.hexdigest()


def last_changed(checkpoint: Checkpoint) -> str:
    """Returns when the weights files were last written; any change to them changes this value."""
    return " ".join(str(file.stat().st_mtime_ns) for file in checkpoint.weights.files)


def _sample(file: Path, digest: hashlib._Hash) -> None:
    size = file.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with file.open("rb") as stream:
        for number in range(_SAMPLES):
            stream.seek(max(0, size - _BLOCK) * number // (_SAMPLES - 1))
            digest.update(stream.read(_BLOCK))
