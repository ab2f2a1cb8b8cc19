"""Garbage is looked for again after a while without."""

from __future__ import annotations

import gc

import pytest

from vtcli.garbage import without_collection


def test_garbage_is_looked_for_again() -> None:
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), without_collection():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
