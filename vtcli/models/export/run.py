"""Run the export: check the checkpoint and disk space, write to temporary files, move them in place when complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vtcli.background import Background
from vtcli.cores import cores
from vtcli.disk import free_bytes
from vtcli.errors import EngineError, ModelError, UsageError, VtError
from vtcli.install import require
from vtcli.models import catalogue
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.export import metadata
from vtcli.models.export.names import EMBEDDING, Piece, check_complete, text_pieces, vision_pieces
from vtcli.models.export.stored import cast, stored_tensors
from vtcli.models.fingerprint import fingerprint
from vtcli.models.gguf import is_gguf, read_gguf
from vtcli.models.gguf_pair import FINGERPRINT, TEXT_ARCHITECTURE
from vtcli.models.sizes import BITS, is_tied

#: `--quant` → llama.cpp's file type (llama.h, enum llama_ftype).
QUANTS = {
    "F32": 0,
    "F16": 1,
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q5_K_S": 16,
    "Q4_K_M": 15,
    "Q4_K_S": 14,
    "Q4_0": 2,
    "Q3_K_M": 12,
    "Q2_K": 10,
}
_PLAIN = {"F32": 4, "F16": 2, "BF16": 2}  # bytes
Progress = Callable[[str, float], None]
"""Receives the name of the current step and its completed share, 0 to 1."""


@dataclass(frozen=True)
class Exported:
    """The two files of an export."""

    text: Path
    projector: Path


def export(
    checkpoint: Checkpoint, folder: Path, quant: str, replace: bool = False, progress: Progress | None = None
) -> Exported:
    """Writes `checkpoint` as two GGUF files into `folder`, the text model quantised to `quant`, one of QUANTS.

    At most two tensors are in memory at once; for quantised types, llama.cpp itself needs memory for one more. The
    vision tower is F16, or F32 if `quant` is F32. Existing files are kept unless `replace` is set; an existing
    projector of the same weights is reused for every `quant`. Raises UsageError for an unknown type, ModelError for a
    checkpoint that a GGUF file cannot represent, VtError if the disk is too small or files exist, EngineError if
    llama.cpp is missing.
    """
    if quant not in QUANTS:
        raise UsageError(f"--quant {quant}: choose one of {', '.join(QUANTS)}")
    if checkpoint.is_gguf:
        raise ModelError(f"{checkpoint.name} is a GGUF file already: export the checkpoint folder it was made from")
    require("vt export", "gguf", "gguf", "llama_cpp", "tokenizers")
    metadata.check_representable(checkpoint)
    tensors = stored_tensors(checkpoint.weights.files)
    tied = is_tied(checkpoint.config, checkpoint.text_config)
    text, vision = text_pieces(tensors, tied), vision_pieces(tensors)
    check_complete(checkpoint, text, vision, tied)
    name = checkpoint.name.rpartition("/")[2]
    exact = "F32" if quant == "F32" else "F16"
    made = Exported(folder / f"{name}-{quant}.gguf", folder / f"mmproj-{name}-{exact}.gguf")
    mark = fingerprint(checkpoint)
    has_projector = not replace and _is_of(made.projector, mark)
    for file in [made.text, *([] if has_projector else [made.projector])]:
        if file.exists() and not replace:
            raise VtError(f"{file} is there already: --yes writes over it")
    base = quant if quant in _PLAIN else _precision(text)
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(checkpoint, folder, text, vision, quant, base)
    entry = catalogue.entries().get(checkpoint.name)
    source = metadata.Source(entry.licence if entry and entry.path == checkpoint.path else "", mark)
    words = metadata.vocabulary(checkpoint, next(p.shape[0] for p in text if p.name == EMBEDDING))
    tell = progress or (lambda _what, _share: None)
    with _aside(folder) as part:
        if not has_projector:
            with _writer(part / "vision.gguf", "clip", exact) as writer:
                metadata.describe_vision(writer, checkpoint, source)
                _write(writer, vision, exact, "vision tower", tell)
        with _writer(part / "text.gguf", TEXT_ARCHITECTURE, base) as writer:
            metadata.describe_text(writer, checkpoint, words, source)
            _write(writer, text, base, "text model", tell)
        result = part / "text.gguf"
        if quant not in _PLAIN:
            result = part / "quantised.gguf"
            tell(f"quantising to {quant}", 0.0)
            _quantise(part / "text.gguf", result, quant)
            tell(f"quantising to {quant}", 1.0)
        if not has_projector:
            os.replace(part / "vision.gguf", made.projector)
        os.replace(result, made.text)
    return made


def _precision(pieces: Sequence[Piece]) -> str:
    """Returns the checkpoint's own precision (F32 if mixed): weights must not be rounded before quantisation."""
    kinds = {piece.source.dtype for piece in pieces}
    return kinds.pop() if len(kinds) == 1 else "F32"


def _is_of(file: Path, mark: str) -> bool:
    """Whether `file` is a projector exported from the same weights."""
    try:
        return is_gguf(file) and read_gguf(file).metadata.get(FINGERPRINT) == mark
    except ModelError:
        return False


def _check_space(
    checkpoint: Checkpoint, folder: Path, text: Sequence[Piece], vision: Sequence[Piece], quant: str, base: str
) -> None:
    values = sum(prod(piece.shape) for piece in text)
    need = 2 * sum(prod(piece.shape) for piece in vision) * (2 if quant == "F32" else 1) + values * _PLAIN[base]
    if quant not in _PLAIN:
        need += int(values * BITS[quant] / 8)
    free = free_bytes(folder)
    if need > free:
        raise VtError(
            f"{checkpoint.name} as {quant} takes {need / 1e9:.1f} GB in {folder} while it is made, "
            f"{free / 1e9:.1f} GB are free"
        )


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder beside the results, always removed afterwards. Raises VtError for disk errors."""
    try:
        with tempfile.TemporaryDirectory(prefix=".vt-export-", dir=folder) as part:
            yield Path(part)
    except OSError as error:
        raise VtError(f"{folder} cannot be written: {error.strerror or error}") from error


@contextmanager
def _writer(file: Path, architecture: str, kind: str) -> Iterator[Any]:
    from gguf import GGUFWriter

    writer = GGUFWriter(file, architecture)
    try:
        writer.add_file_type(QUANTS[kind])
        writer.add_quantization_version(2)
        yield writer
    finally:
        writer.close()


def _write(writer: Any, pieces: Sequence[Piece], kind: str, what: str, tell: Progress) -> None:
    """Writes the header, then the tensors one at a time; one-dimensional tensors are F32, as llama.cpp requires."""
    from gguf import GGMLQuantizationType

    for piece in pieces:
        target = _target(piece, kind)
        size = prod(piece.shape) * _PLAIN[target]
        writer.add_tensor_info(piece.name, piece.shape, np.dtype("<f4"), size, GGMLQuantizationType[target])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for number, piece in enumerate(pieces):
        tell(f"writing the {what}", number / len(pieces))
        try:
            writer.write_tensor_data(cast(piece.read(), piece.source.dtype, _target(piece, kind)))
        except OverflowError as error:
            raise ModelError(f"{piece.source.name}: {error}; export it as BF16 or F32") from error
    tell(f"writing the {what}", 1.0)


def _target(piece: Piece, kind: str) -> str:
    return "F32" if len(piece.shape) == 1 else kind


def _quantise(source: Path, target: Path, quant: str) -> None:
    from vtcli.engines.llama_cpp.library import library

    lib = library()
    options = lib.llama.llama_model_quantize_default_params()
    options.ftype = QUANTS[quant]
    options.nthread = cores()

    def quantise() -> str | None:
        failed = lib.llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), options)
        return lib.last_error() if failed else None

    # Takes minutes in C code: run in the background so that Ctrl-C is handled.
    if (reason := Background(quantise).result()) is not None:
        raise EngineError(f"llama.cpp cannot quantise to {quant}: {reason}")
