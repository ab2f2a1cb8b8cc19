"""The installed command as a subprocess, on a real file and two checkpoints: one random, and the embedded `tiny`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.engines.conftest import random_checkpoint  # noqa: F401  # the fixture

ROOT = Path(__file__).resolve().parents[2]
VT = Path(sys.executable).with_name("vt.exe" if os.name == "nt" else "vt")
COMMAND = [str(VT)] if VT.exists() else [sys.executable, "-m", "vtcli"]

Vt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def vt(tmp_path: Path) -> Vt:
    """Runs `vt` in an empty folder; every stream is captured as text, and stdin is empty."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s at 10 frames a second, 96x64: a bright square crossing a dark ground."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(80):
            picture = np.full((64, 96, 3), 30, np.uint8)
            picture[20:40, number : number + 16] = (230, 60, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def tiny() -> str:
    """The embedded model's name; skips while it has not been trained."""
    from vtcli.models import catalogue

    entry = catalogue.entries().get("tiny")
    if entry is None or entry.path is None:
        pytest.skip("the embedded model is not in this checkout")
    pytest.importorskip("torch")
    return "tiny"


@pytest.fixture(scope="session")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """The sample clip of `vt demo` with its question and choices."""
    demo = pytest.importorskip("vtcli.shapes.demo")
    path = tmp_path_factory.mktemp("demo") / "clip.mp4"
    question, choices = demo.write_demo(path)
    return path, question, list(choices)


def schema(name: str) -> Any:
    """docs/schema/NAME.schema.json."""
    return json.loads((ROOT / "docs" / "schema" / f"{name}.schema.json").read_text(encoding="utf-8"))


def validate(record: Any, name: str) -> None:
    """Fails unless `record` satisfies the schema NAME; references between the schemas are resolved on disk."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    names = [file.name.removesuffix(".schema.json") for file in (ROOT / "docs" / "schema").glob("*.schema.json")]
    registry: Registry[Any] = Registry().with_resources(
        [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in names]
    )
    Draft202012Validator(schema(name), registry=registry).validate(record)
