"""What the process is told while a model is loaded: to look for no garbage, and to keep what is freed."""

from __future__ import annotations

import gc

import pytest

from vtcli.engines import loading
from vtcli.engines.allocator import keep_freed_memory


def test_garbage_is_looked_for_again() -> None:
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), loading.without_collection():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with loading.without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_freed_memory_is_kept_only_where_that_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform in ("darwin", "win32"):
        monkeypatch.setattr("sys.platform", platform)
        monkeypatch.setattr("ctypes.CDLL", None)
        keep_freed_memory()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_freed_memory()
