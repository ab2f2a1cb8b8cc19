"""Find the files of a checkpoint's weights, and check without reading them: complete, safe and inside the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vtcli.errors import ModelError

#: Suffixes of torch's pickles, which run code when loaded; vt opens only safetensors.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HEADER_LIMIT = 100 * 2**20  # as in the safetensors library
_DIMENSIONS = 8  # no tensor of the family has more than five


@dataclass(frozen=True)
class Weights:
    """The safetensors files of a checkpoint, the number of values in them and their bytes on disk."""

    files: tuple[Path, ...]
    parameters: int
    bytes: int


def find_weights(folder: Path) -> Weights:
    """Returns the weights of a model folder: `model.safetensors`, or the shards named in its index.

    Raises ModelError if the folder has no weights or only pickles, or if a shard is missing, truncated or outside the
    folder.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        files: tuple[Path, ...] = (single,)
    elif index.is_file():
        files = _shards(folder, index)
    else:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{folder} holds only pickled weights ({pickles[0]}), which can run code and are never loaded: "
                "convert them to safetensors"
            )
        raise ModelError(f"{folder} holds no weights (no model.safetensors and no model.safetensors.index.json)")
    return Weights(
        files, sum(_values(read_header(file)[0]) for file in files), sum(file.stat().st_size for file in files)
    )


def _shards(folder: Path, index: Path) -> tuple[Path, ...]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except OSError as error:
        raise ModelError(f"{index} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} is not a safetensors index") from error
    for name in names:
        plain = PurePosixPath(name).name == name == PureWindowsPath(name).name
        if not plain or not name.endswith(".safetensors"):
            raise ModelError(f"{index} names {name!r}, which is not a safetensors file of this folder")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        listed = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{folder} is incomplete: missing {listed or 'every shard'} (download it again)")
    return tuple(folder / name for name in names)


def read_header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Returns the tensors of a safetensors file (dtype, shape, data_offsets) by name, and the byte offset of the data.

    Raises ModelError if the header or the file's size is wrong.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(_HEADER_LIMIT, size):
                raise ValueError("no header")
            header: dict[str, Any] = json.loads(stream.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for entry in tensors.values():
            _check(entry)
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file} is not a safetensors file (a failed download?)") from error
    if 8 + length + end != size:
        raise ModelError(f"{file} is cut short: {size} of {8 + length + end} bytes (download it again)")
    return tensors, 8 + length


def _check(entry: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError unless a tensor's entry has values of the right kind."""
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, begin, end]
    if any(type(number) is not int or number < 0 for number in numbers) or begin > end or len(shape) > _DIMENSIONS:
        raise ValueError("an invalid shape or place")
    if not isinstance(entry["dtype"], str):
        raise TypeError("an invalid dtype")


def published_name(name: str) -> str:
    """Returns the tensor's name in published Qwen2.5-VL checkpoints; transformers 5 saves a longer name."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def _values(tensors: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(math.prod(entry["shape"]) for entry in tensors.values())
