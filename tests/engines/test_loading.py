"""What the process is told while a model is loaded: to look for no garbage."""

from __future__ import annotations

import gc

import pytest

from vtcli.engines import loading


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
