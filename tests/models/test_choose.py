"""What is offered on which machine; the machines are described, their memory is arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtcli import machine
from vtcli.machine import Place
from vtcli.models import catalogue, choose, overview, store
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.store import Installed

GB = 10**9


def offered(*places: Place) -> str | None:
    found = choose.best(choose.variants(catalogue.entries()["video-thinker-7b"]), places)
    if found is None:
        return None
    return f"{str(found[0]).removeprefix('video-thinker-7b') or 'checkpoint'} on {found[1].device}"


@pytest.mark.parametrize(
    ("places", "best"),
    [
        ([Place("transformers", "cuda", 24 * GB), Place("transformers", "cpu", 60 * GB)], "checkpoint on cuda"),
        (
            [Place("transformers", "cuda", 12 * GB), Place("llama-cpp", "cuda", 12 * GB)],
            ":q8_0 on cuda",
        ),
        (
            [Place("transformers", "cuda", 8 * GB), Place("llama-cpp", "cuda", 8 * GB)],
            ":q4_k_m on cuda",
        ),
        ([Place("transformers", "mps", 40 * GB), Place("llama-cpp", "mps", 40 * GB)], ":q8_0 on mps"),
        ([Place("transformers", "mps", 40 * GB)], "checkpoint on mps"),
        ([Place("transformers", "cpu", 60 * GB), Place("llama-cpp", "cpu", 60 * GB)], ":q4_k_m on cpu"),
        ([Place("transformers", "cpu", 60 * GB)], "checkpoint on cpu"),
        ([Place("transformers", "cpu", 30 * GB, value_bytes=4)], None),  # float32 takes 33 GB
        ([Place("llama-cpp", "cuda", 4 * GB), Place("llama-cpp", "cpu", 16 * GB)], ":q4_k_m on cpu"),
        ([Place("llama-cpp", "cpu", 4 * GB)], None),
        ([], None),
    ],
)
def test_what_serves_best(places: list[Place], best: str | None) -> None:
    assert offered(*places) == best


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[Installed]:
    """Exports and the checkpoint of a model outside the catalogue, in the order in which their files lie."""
    pytest.importorskip("llama_cpp")
    from vtcli.models.export import export

    tiny, folder = open_checkpoint("tiny"), tmp_path_factory.mktemp("variants")
    files = {quant: export(tiny, folder, quant).text for quant in ("Q4_K_M", "Q8_0")}
    sizes = [(quant, path, path.stat().st_size) for quant, path in files.items()]
    return [
        Installed("acme/k", quant, path, (path,), size, store.HUB)
        for quant, path, size in [*sizes, (None, tiny.path, tiny.weights.bytes)]
    ]


@pytest.mark.parametrize(
    ("device", "room_for", "best"),
    [("cuda", "Q8_0", "Q8_0"), ("cuda", "Q4_K_M", "Q4_K_M"), ("cpu", "Q8_0", "Q4_K_M"), ("cpu", None, "Q4_K_M")],
)
def test_of_several_variants_on_this_machine_the_best_is_taken(
    here: list[Installed], device: str, room_for: str | None, best: str
) -> None:
    entry, place = catalogue.Entry("acme/k"), Place("llama-cpp", device, 0)
    need = {one.quant: choose.need(choose.Variant(entry, one.quant, one.bytes, one.path), place) for one in here}
    found = overview.fitting(here, [replace(place, free=need[room_for] if room_for else 1)])
    assert found is not None and found.quant == best


@pytest.mark.parametrize("free", [1, 10**12])
def test_a_variant_without_engine_is_not_taken(here: list[Installed], free: int) -> None:
    torch_alone, gguf_alone = [Place("transformers", "cpu", free)], [Place("llama-cpp", "cpu", free)]
    taken = [overview.fitting(here, places) for places in (torch_alone, gguf_alone, [])]
    assert [one and one.quant for one in taken] == [None, "Q4_K_M", "Q4_K_M"]


def test_what_cannot_be_planned_does_not_hide_what_can(here: list[Installed], folder: Path, vt_home: Path) -> None:
    """An installed model is planned from its own files, whatever the catalogue says of it."""
    (vt_home / "models").mkdir(parents=True)
    (vt_home / "models" / "k.toml").write_text('repository = "acme/k"\n')
    places = [Place("llama-cpp", "cuda", 10**12), Place("transformers", "cpu", 10**12)]
    broken = Installed("broken", None, folder / "nothing", (), 1, store.HUB)
    found = overview.fitting([broken, *(replace(one, name="k") for one in here)], places)
    assert found is not None and (found.name, found.quant) == ("k", "Q8_0")
    assert overview.fitting([broken], places) == broken


def test_this_machine_is_seen() -> None:
    pytest.importorskip("torch")
    cpu = next(place for place in machine.places() if (place.engine, place.device) == ("transformers", "cpu"))
    assert 10**8 < cpu.free < 10**14 and cpu.value_bytes in (2, 4)


def test_a_build_of_torch_with_cuda_is_told_by_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')")
    monkeypatch.setattr(machine.util, "find_spec", lambda name: Spec(str(tmp_path / "torch" / "__init__.py")))
    version = tmp_path / "torch" / "version.py"
    version.write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n")
    assert machine._torch_has_cuda()
    version.write_text("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert not machine._torch_has_cuda()


class Spec:
    def __init__(self, origin: str) -> None:
        self.origin = origin


def driver(gpus: list[tuple[int, int]]) -> SimpleNamespace:
    """NVML of a machine with these GPUs: compute capability and free bytes of each."""

    def count(found: Any) -> int:
        found._obj.value = len(gpus)
        return 0

    def handle(number: int, device: Any) -> int:
        device._obj.value = number + 1
        return 0

    def uuid(device: Any, name: Any, length: int) -> int:
        name.value = f"GPU-{device.value}".encode()
        return 0

    def memory(device: Any, found: Any) -> int:
        found[1] = gpus[device.value - 1][1]
        return 0

    def capability(device: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = divmod(gpus[device.value - 1][0], 10)
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlShutdown=lambda: 0,
        nvmlDeviceGetCount_v2=count,
        nvmlDeviceGetHandleByIndex_v2=handle,
        nvmlDeviceGetUUID=uuid,
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetCudaComputeCapability=capability,
    )


@pytest.mark.parametrize(
    ("visible", "gpus", "free"),
    [
        (None, [(90, 80 * GB), (89, 20 * GB)], 100 * GB),
        (None, [(75, 16 * GB), (75, 15 * GB)], 31 * GB),
        (None, [(75, 16 * GB), (86, 24 * GB)], 24 * GB),  # loading leaves the older one out
        ("0", [(75, 16 * GB), (86, 24 * GB)], 16 * GB),
        ("GPU-2", [(90, 80 * GB), (90, 70 * GB)], 70 * GB),
        ("", [(90, 80 * GB)], 0),
    ],
)
def test_gpus_that_a_model_may_use_are_counted(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: list[tuple[int, int]], free: int
) -> None:
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: driver(gpus))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine._nvidia_memory() == free
