"""What signals do while something has to be cleaned up, and that they do as before afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from vtcli.signals import cleaned_up, terminable, uninterrupted

SIGHUP = getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """Under nohup or in the background the tests inherit signals that are ignored."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, SIGHUP)}
    for number in (signal.SIGTERM, SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, SIGHUP])
def test_signals_run_what_cleans_up(number: int) -> None:
    with pytest.raises(SystemExit) as error, terminable():
        signal.raise_signal(number)
    assert error.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, SIGHUP])
def test_a_block_is_completed_first(number: int) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit), terminable():
        with uninterrupted():
            signal.raise_signal(number)
            done.append(1)
        done.append(2)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay() -> None:
    got: list[int] = []

    def handler(number: int, frame: object) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, handler)
    with terminable(), cleaned_up(lambda: got.append(0)), uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        assert got == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.skipif(os.name == "nt", reason="processes end with other codes there")
@pytest.mark.parametrize("work", ["print('cleaned')", "print('cleaned'); 1 / 0"])
def test_the_process_dies_of_the_signal(work: str) -> None:
    program = (
        "import signal; from vtcli.signals import cleaned_up\n"
        f"def clean():\n {work}\n"
        "with cleaned_up(clean):\n signal.raise_signal(signal.SIGTERM)\nprint('alive')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "cleaned\n")
