"""Report what this machine can run and the command that fixes each gap. Only libraries are loaded, no models."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from typing import Any

from vtcli import __version__
from vtcli.errors import EngineError, ModelError, first_line
from vtcli.install import install_command, pip_command
from vtcli.machine import Place, places
from vtcli.memory import Clip, memory_by_part, most_frames
from vtcli.models import catalogue, choose, overview, store
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.choose import Variant
from vtcli.models.reference import Reference

DEVICES = ("cuda", "mps", "cpu")
TEXT_TOKENS = 1500
"""Text tokens of a question: the paper's prompt, and a reply of up to 1,024 tokens."""
VIDEO_SIZE = (720, 1280)
"""Height and width of the video for which fitting frames are counted."""


@dataclass(frozen=True)
class Finding:
    """A component vt can use: whether it is `ready`, its description or why it is not ready, and a command as fix."""

    name: str
    ready: bool
    detail: str
    fix: str | None = None


@dataclass(frozen=True)
class Device(Finding):
    """A device. `dtype` is the precision a 7B would run in; memory is in bytes, None if the device is absent."""

    dtype: str | None = None
    memory: int | None = None
    free: int | None = None


@dataclass(frozen=True)
class Model(Finding):
    """A model. `bytes`: memory that two frames take on `device`, the least. `frames`: the most that fit, 0 for none."""

    parameters: int | None = None
    bytes: int | None = None
    device: str | None = None
    frames: int | None = None


def examine() -> dict[str, Any]:
    """Builds the record `vt.doctor/1` (docs/schema/doctor.schema.json) except `terminal`, which the caller adds."""
    devices, engines = [_device(name) for name in DEVICES], list(_engines())
    ready = {engine.name for engine in engines if engine.ready}
    return {
        "schema": "vt.doctor/1",
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "engines": [asdict(engine) for engine in engines],
        "devices": [asdict(device) for device in devices],
        "readers": [asdict(finding) for finding in _readers()],
        "models": [asdict(model) for model in _models(devices, ready)],
    }


def _engines() -> Iterator[Finding]:
    missing = [name for name in ("torch", "transformers", "safetensors", "accelerate") if util.find_spec(name) is None]
    if missing:
        yield Finding("transformers", False, f"needs {' and '.join(missing)}", install_command("torch"))
    else:
        versions = f"{_version('transformers')} with torch {_version('torch')}"
        yield _usable("transformers", versions, "torch", pip_command("install", "--force-reinstall", "torch"))
    yield _llama_cpp()
    yield Finding("openai", False, "not in this version of vt")


def _llama_cpp() -> Finding:
    missing = [name for name in ("llama_cpp", "gguf", "tokenizers") if util.find_spec(name) is None]
    if missing:
        return Finding("llama-cpp", False, f"needs {' and '.join(missing)}", install_command("gguf"))
    try:
        from vtcli.engines.llama_cpp.gpu import gpu_name
        from vtcli.engines.llama_cpp.library import library

        built = gpu_name(library()) or "the processor alone"
    except Exception as error:  # C libraries raise arbitrary exceptions when their own libraries do not match
        return Finding("llama-cpp", False, f"cannot be imported: {first_line(error)}", install_command("gguf"))
    return Finding("llama-cpp", True, f"{_version('llama-cpp-python')} for GGUF files, built for {built}")


def _readers() -> Iterator[Finding]:
    import av

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    yield Finding("pyav", True, f"{av.__version__} with FFmpeg's libavcodec {codec}")
    for name in ("decord", "torchcodec"):
        if util.find_spec(name) is None:
            yield Finding(name, False, "not installed; pyav reads everything it does", install_command(name))
        else:
            yield _usable(name, _version(name), name, None)


def _usable(name: str, detail: str, module: str, fix: str | None) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # C libraries raise arbitrary exceptions when their own libraries do not match
        return Finding(name, False, f"{detail} cannot be imported: {first_line(error)}", fix)
    return Finding(name, True, detail)


def _device(name: str) -> Device:
    from vtcli.engines.room import free_memory, gpu_memory

    if name == "cpu":
        detail = f"{platform.machine()}, {os.cpu_count()} threads"
        return _present(name, detail, _main_memory(), free_memory(name))
    if util.find_spec("torch") is None:
        return Device(name, False, "needs torch", install_command("torch"))
    from vtcli.engines.device import place

    try:
        import torch

        place(name, 0)
    except EngineError as error:
        return Device(name, False, str(error).removeprefix(f"--device {name}: ").split(";")[0], _device_fix(name))
    except Exception as error:
        return Device(name, False, f"torch cannot be imported: {first_line(error)}")
    if name == "mps":
        return _present(name, "Metal", int(torch.mps.recommended_max_memory()), free_memory(name))
    try:
        gpus = [torch.cuda.get_device_properties(gpu) for gpu in range(torch.cuda.device_count())]
        free = sum(gpu_memory())
    except (EngineError, RuntimeError) as error:  # memory full, or in exclusive use by another process
        return Device(name, False, first_line(error))
    names, total = ", ".join(gpu.name for gpu in gpus), sum(int(gpu.total_memory) for gpu in gpus)
    return _present(name, names, total, free)


def _present(name: str, detail: str, memory: int, free: int) -> Device:
    dtype = None
    if util.find_spec("torch") is not None:
        from vtcli.engines.device import SMALL, place

        try:
            dtype = place(name, SMALL + 1).dtype
        except Exception as error:
            detail = f"{detail}; torch cannot be imported: {first_line(error)}"
    return Device(name, True, detail, None, dtype, memory, free)


def _main_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _device_fix(name: str) -> str | None:
    """Returns the command that installs torch with CUDA, if this machine has a GPU that could use it."""
    if name != "cuda" or shutil.which("nvidia-smi") is None:
        return None
    # PyPI hosts the CUDA build for Linux, but not for Windows.
    index = ["--index-url", "https://download.pytorch.org/whl/cu128"] if sys.platform == "win32" else []
    return pip_command("install", "--force-reinstall", "torch", *index)


def _models(devices: list[Device], engines: set[str]) -> Iterator[Model]:
    """Yields every catalogue model; only the usable `engines`, by name, count."""
    best = next((device.name for device in devices if device.ready and device.dtype), None)
    torch_device = best if "transformers" in engines else None
    there = [place for place in places() if place.engine in engines]
    for entry in catalogue.entries().values():
        installed = store.find(Reference(entry.name, entry, entry.repository, entry.revision, None))
        here = overview.fitting(installed, there)
        try:
            variant = Variant(entry, here.quant, here.bytes, here.path) if here else _offered(entry, there)
            checkpoint = choose.planned(variant)
            place = _place(checkpoint, torch_device, there)
            found = _model(checkpoint, entry, place, None if here else _pull(entry, there), here is not None)
        except ModelError as error:
            found = Model(entry.name, False, str(error))
        yield found


def _offered(entry: catalogue.Entry, there: list[Place]) -> Variant:
    """Returns the variant to plan for a model that is not on this machine: its checkpoint, if torch could run it."""
    variants = choose.variants(entry)
    if not variants:
        raise ModelError(f"the catalogue entry of {entry.name} names neither a repository nor a folder")
    if not there or any(place.engine == "transformers" for place in there):
        return variants[0]
    found = choose.best(variants, there)
    return found[0] if found else min(variants, key=lambda one: one.bytes)


def _place(checkpoint: Checkpoint, torch_device: str | None, there: list[Place]) -> Place | None:
    """Returns where the checkpoint would run; None if its engine is not installed."""
    if checkpoint.is_gguf:
        return next((place for place in there if place.engine == "llama-cpp"), None)
    if torch_device is None:
        return None
    from vtcli.engines.device import VALUE_BYTES, place
    from vtcli.engines.room import free_memory

    parameters = checkpoint.weights.parameters
    value_bytes = VALUE_BYTES[place(torch_device, parameters).dtype]
    return Place("transformers", torch_device, free_memory(torch_device, parameters * value_bytes), value_bytes)


def _model(checkpoint: Checkpoint, entry: catalogue.Entry, place: Place | None, fix: str | None, here: bool) -> Model:
    """Returns what running the model at `place` would take, whether or not its files are on this machine."""
    parameters = checkpoint.weights.parameters
    lacks = [] if here else ["not on this machine"]
    if place is None:
        lacks.append("no engine to run it")
        return Model(entry.name, False, _but(entry.description, lacks), fix, parameters)
    clip = Clip(2, *_frame_size(checkpoint), TEXT_TOKENS)
    least = memory_by_part(checkpoint, clip, place.value_bytes, place.device)["total"]
    frames = most_frames(checkpoint, clip, place.value_bytes, place.device, place.free)
    detail = _but(entry.description, lacks)
    ready = frames > 0 and not lacks
    return Model(entry.name, ready, detail, fix, parameters, least, place.device, frames)


def _pull(entry: catalogue.Entry, there: list[Place]) -> str | None:
    """Returns the command that pulls the entry's best variant for this machine, if any variant can run."""
    found = choose.best(choose.variants(entry), there)
    return f"vt pull {found[0]}" if found else None


def _but(description: str, lacks: list[str]) -> str:
    return f"{description.removesuffix('.')} ({', '.join(lacks)})." if lacks else description


def _frame_size(checkpoint: Checkpoint) -> tuple[int, int]:
    """Returns height and width of a 16:9 frame after resizing for this checkpoint."""
    from vtcli.video.sampling import smart_resize

    low, high = checkpoint.frame_pixels()
    return smart_resize(*VIDEO_SIZE, min_pixels=low, max_pixels=high)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"
