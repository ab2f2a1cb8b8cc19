"""What a machine has is faked here: no machine has every device."""

from __future__ import annotations

from typing import Any

import pytest

from vtcli.engines.device import SMALL, place
from vtcli.errors import EngineError, UsageError

torch = pytest.importorskip("torch")

LARGE = 8_000_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def has(
        cuda: tuple[int, int] | None = None, macos: int | None = None, x86: bool = False, arm: bool = False
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda is not None))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: macos is not None)
        monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: (macos or 0) >= major)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: x86)
        if hasattr(torch.cpu, "get_capabilities"):
            monkeypatch.setattr(
                torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64", "bf16": True} if arm else {}
            )

    return has


@pytest.mark.parametrize(
    ("has", "device", "dtype"),
    [
        ({"cuda": (8, 0), "macos": 15}, "cuda", "bfloat16"),
        ({"cuda": (7, 5)}, "cuda", "float16"),
        ({"macos": 14}, "mps", "bfloat16"),
        ({"macos": 13}, "mps", "float16"),
        ({"x86": True}, "cpu", "bfloat16"),
        ({"arm": True}, "cpu", "bfloat16"),
        ({}, "cpu", "float32"),
    ],
)
def test_auto_takes_the_best_there_is(machine: Any, has: dict[str, Any], device: str, dtype: str) -> None:
    machine(**has)
    assert (place("auto", LARGE).device, place("auto", LARGE).dtype) == (device, dtype)
    assert place("auto", SMALL).dtype == "float32"


def test_cpu_can_be_asked_for_anywhere(machine: Any) -> None:
    machine(cuda=(9, 0))
    assert place("cpu", LARGE).device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_an_absent_device_is_an_error(machine: Any, device: str) -> None:
    machine()
    with pytest.raises(EngineError, match=f"--device {device}: .*--device auto"):
        place(device, LARGE)


def test_an_unknown_device_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="auto, cuda, mps, cpu"):
        place("tpu", LARGE)
