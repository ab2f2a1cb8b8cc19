"""What the examination finds; machines with other devices and libraries are faked, nothing else is."""

from __future__ import annotations

import importlib
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtcli import doctor, machine
from vtcli.engines import room
from vtcli.engines.device import Placement, place
from vtcli.engines.loading import _device_map
from vtcli.errors import EngineError
from vtcli.models.checkpoint import open_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes modules look as if they were not installed."""
    real = util.find_spec

    def hide(*names: str) -> None:
        monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name in names else real(name, *rest))

    return hide


def named(findings: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(finding for finding in findings if finding["name"] == name)


def test_what_is_there_is_ready() -> None:
    record = doctor.examine()
    assert named(record["engines"], "transformers")["ready"]
    assert torch.__version__ in named(record["engines"], "transformers")["detail"]
    cpu = named(record["devices"], "cpu")
    assert cpu["ready"] and 0 < cpu["free"] < cpu["memory"]
    assert named(record["readers"], "pyav")["ready"]
    tiny = named(record["models"], "tiny")
    assert tiny["ready"] and tiny["frames"] > 16 and tiny["parameters"] == 4_897_408


def test_a_missing_engine_comes_with_its_command(without: Any) -> None:
    without("torch")
    record = doctor.examine()
    engine = named(record["engines"], "transformers")
    assert not engine["ready"] and "needs torch" in engine["detail"] and "[torch]" in engine["fix"]
    assert named(record["devices"], "cpu")["dtype"] is None
    assert not named(record["models"], "tiny")["ready"]
    assert "no engine" in named(record["models"], "tiny")["detail"]


def test_a_missing_reader_comes_with_its_command(without: Any) -> None:
    without("decord")
    found = named(doctor.examine()["readers"], "decord")
    assert not found["ready"] and "[decord]" in found["fix"]


def test_a_library_that_breaks_on_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    found = named(doctor.examine()["engines"], "transformers")
    assert not found["ready"] and "cannot open shared object file" in found["detail"] and "torch" in found["fix"]


@pytest.mark.parametrize(("free", "frames"), [(10**9, 0), (17 * 10**9, 28), (10**12, 768)])
def test_the_7b_fits_where_its_memory_is_free(monkeypatch: pytest.MonkeyPatch, free: int, frames: int) -> None:
    """16.58 GB of weights and 0.09 GB for text leave 0.33 GB, of which a frame of 60 tokens takes 11.8 MB."""
    from vtcli.engines import device

    monkeypatch.setattr(room, "free_memory", lambda name, weights=0: free)
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    seven = named(doctor.examine()["models"], "video-thinker-7b")
    assert seven["parameters"] == 8_292_166_656 and not seven["ready"]
    assert 16_584_333_312 < seven["bytes"] < 17 * 10**9
    assert seven["frames"] == frames


@pytest.fixture
def exported(vt_home: Path) -> None:
    """`k`: an export of `tiny` that `vt pull k:q8_0` would have made, and no checkpoint."""
    pytest.importorskip("llama_cpp")
    from vtcli.models.export import export
    from vtcli.models.store import exports_folder

    (vt_home / "models").mkdir(parents=True)
    (vt_home / "models" / "k.toml").write_text('repository = "acme/k"\n')
    export(open_checkpoint("tiny"), exports_folder("acme/k", "1" * 40), "Q8_0")


def test_a_gguf_file_needs_llama_cpp_alone(exported: None, without: Any) -> None:
    found = named(doctor.examine()["models"], "k")
    assert (found["ready"], found["device"]) == (True, "cpu") and found["frames"] > 16
    without("torch")
    assert named(doctor.examine()["models"], "k") == found
    without("llama_cpp")
    found = named(doctor.examine()["models"], "k")
    assert not found["ready"] and "no engine to run it" in found["detail"]


def test_without_torch_exports_are_planned(without: Any) -> None:
    pytest.importorskip("llama_cpp")
    without("torch")
    seven = named(doctor.examine()["models"], "video-thinker-7b")
    assert seven["bytes"] < 10**10 and "no engine" not in seven["detail"]


def test_without_transformers_no_checkpoint_is_ready(without: Any) -> None:
    without("transformers")
    assert not named(doctor.examine()["models"], "tiny")["ready"]


def test_an_entry_that_cannot_be_planned_says_why(vt_home: Path) -> None:
    (vt_home / "models").mkdir(parents=True)
    (vt_home / "models" / "bare.toml").write_text('repository = "acme/bare"\n')
    (vt_home / "models" / "gone.toml").write_text('path = "/nowhere/at/all"\n')
    (vt_home / "models" / "empty.toml").write_text("")
    found = doctor.examine()["models"]
    assert named(found, "bare")["detail"].endswith("lacks sizes to plan with ([config]): run vt pull bare")
    assert named(found, "gone")["detail"] == "gone is not there: its catalogue entry names /nowhere/at/all"
    assert "neither a repository nor a folder" in named(found, "empty")["detail"]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes GPUs appear, with so many bytes free; None: nothing can be asked of it."""

    def have(*free: int | None, oldest: int = 9) -> None:
        def asked(number: int) -> tuple[int, int]:
            if free[number] is None:
                raise torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be")
            return free[number] or 0, 10**12

        properties = SimpleNamespace(name="NVIDIA H200", total_memory=150 * 10**9)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (9 if number else oldest, 0))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
        monkeypatch.setattr(torch.cuda, "mem_get_info", asked)

    return have


def test_a_gpu_that_cannot_be_used_is_told(gpus: Any) -> None:
    """The rest of the examination goes on."""
    gpus(None)
    record = doctor.examine()
    found = named(record["devices"], "cuda")
    assert not found["ready"] and found["detail"].startswith("no GPU can be used (CUDA error: out of memory)")
    assert named(record["devices"], "cpu")["ready"] and named(record["models"], "tiny")["device"] == "cpu"
    with pytest.raises(
        EngineError, match=r"^no GPU can be used \(CUDA error: out of memory\): with CUDA_VISIBLE_DEVICES="
    ):
        room.free_memory("cuda")


def test_of_several_gpus_the_one_with_room_counts(gpus: Any) -> None:
    """What fits one GPU is planned for it alone, wherever it is; what does not, for all."""
    gpus(3 * 10**9, 140 * 10**9)
    assert (room.free_memory("cuda"), room.free_memory("cuda", 16 * 10**9)) == (140 * 10**9, 140 * 10**9)
    assert room.free_memory("cuda", 130 * 10**9) == 143 * 10**9
    found = named(doctor.examine()["devices"], "cuda")
    assert (found["free"], found["memory"], found["detail"]) == (143 * 10**9, 300 * 10**9, "NVIDIA H200, NVIDIA H200")
    seven = named(doctor.examine()["models"], "video-thinker-7b")
    assert (seven["device"], seven["frames"]) == ("cuda", 768)
    gpus(24 * 10**9, 24 * 10**9)
    assert 100 < named(doctor.examine()["models"], "video-thinker-7b")["frames"] < 768
    checkpoint = open_checkpoint("tiny")
    gpus(10**9, 2 * 10**9, 10**9)
    assert _device_map(checkpoint, Placement("cuda", "float32")) == {"": "cuda:1"}
    gpus(10**7, 2 * 10**7)
    assert _device_map(checkpoint, Placement("cuda", "float32")) == "balanced"
    gpus(10**7)
    assert _device_map(checkpoint, Placement("cuda", "float32")) == {"": "cuda:0"}


def test_a_gpu_of_several_that_is_of_no_use_is_passed_over(gpus: Any) -> None:
    """One that is full; one that is older than bfloat16, which the others compute in."""
    gpus(None, 140 * 10**9)
    assert room.gpu_memory() == [0, 140 * 10**9] and named(doctor.examine()["devices"], "cuda")["ready"]
    gpus(140 * 10**9, 20 * 10**9, oldest=7)
    assert room.gpu_memory() == [0, 20 * 10**9] and place("cuda", 10**10).dtype == "bfloat16"
    gpus(20 * 10**9, oldest=7)
    assert room.gpu_memory() == [20 * 10**9] and place("cuda", 10**10).dtype == "float16"


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("0", "0"), ("1,0", "01"), ("", ""), ("-1", ""), ("1,-1,0", "1"), ("GPU-1b", "1"), (" 0 , 1 ", "01"), ("7", ""),
        ("7,0", ""), ("1,7,0", "1"), ("MIG-5f", "01"), ("MIG-GPU-1b88/1/0", "01"),
    ],
)  # fmt: skip
def test_only_gpus_that_cuda_may_see_count(visible: str, seen: str) -> None:
    names = ["GPU-0a77", "GPU-1b88"]
    assert "".join(str(i) for i, name in enumerate(names) if machine._is_visible(i, 2, name, visible)) == seen


def test_a_container_gives_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    whole = room.free_memory("cpu")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 400000\n")
    assert room.free_memory("cpu") == 900_000
    (tmp_path / "memory.max").write_text("max\n")
    assert room.free_memory("cpu") > 1000 * 900_000 or whole < 900_000_000
