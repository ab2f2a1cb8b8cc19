"""What the C library is told about memory that is given back."""

from __future__ import annotations

import pytest

from vtcli.engines.allocator import keep_freed_memory


def test_freed_memory_is_kept_only_where_that_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform in ("darwin", "win32"):
        monkeypatch.setattr("sys.platform", platform)
        monkeypatch.setattr("ctypes.CDLL", None)
        keep_freed_memory()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_freed_memory()
