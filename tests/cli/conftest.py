"""`vt` run inside the test process, through the same entry point as the console script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import clip, random_checkpoint  # noqa: F401  # fixtures
from vtcli.__main__ import run as run_vt


@dataclass(frozen=True)
class Done:
    """What a run left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Done:
        capfd.readouterr()
        code = run_vt(arguments)
        return Done(code, *capfd.readouterr())

    return call
