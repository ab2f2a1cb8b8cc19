"""Clips of moving shapes with their records, and a small random model to train on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.engines.conftest import random_checkpoint  # noqa: F401  # the fixture
from vtcli.models.checkpoint import open_checkpoint
from vtcli.train.encode import Encoder
from vtcli.train.recipe import Recipe
from vtcli.train.recipe_file import load_recipe
from vtcli.train.records import Record, read_records
from vtcli.train.shapes import record_of, write_shapes

CLIPS = 8


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of records of 8 clips."""
    pytest.importorskip("yaml")
    return write_shapes(tmp_path_factory.mktemp("shapes"), CLIPS, workers=1)


@pytest.fixture(scope="session")
def records(shapes: Path) -> tuple[Record, ...]:
    return tuple(read_records([shapes]).records)


@pytest.fixture(scope="session")
def recipe(random_checkpoint: Path) -> Recipe:  # noqa: F811
    """tiny's, made smaller, for the random model."""
    return load_recipe(
        "tiny",
        [
            f"model={random_checkpoint}",
            "data.max_prompt_tokens=4096",
            "sft.max_tokens=6000",
            "sft.batch=2",
            "sft.per_device=2",
            "grpo.batch=2",
            "grpo.per_device=1",
            "grpo.group=2",
            "grpo.max_tokens=12",
        ],
    )


@pytest.fixture(scope="session")
def encoder(recipe: Recipe, random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:  # noqa: F811
    pytest.importorskip("torch")
    checkpoint = open_checkpoint(random_checkpoint)
    return Encoder.of(checkpoint, recipe, tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Of several kinds and shapes: one to be made smaller, one larger, one that is transparent, one in grey."""
    image = pytest.importorskip("PIL.Image")
    folder, dice = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    made = []
    for name, shape in (("large.jpg", (400, 300, 3)), ("small.png", (30, 50, 3)), ("clear.png", (90, 120, 4)),
                        ("grey.png", (64, 64))):  # fmt: skip
        coarse = dice.integers(0, 256, (shape[0] // 10, shape[1] // 10, *shape[2:]), np.uint8)
        image.fromarray(coarse).resize((shape[1], shape[0])).save(folder / name)
        made.append(folder / name)
    return tuple(made)


Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes records to a file of JSON lines: clip 0's with the given changes, one record a dict."""

    def write(*changes: dict[str, object], name: str = "data.jsonl") -> Path:
        base = {key: value for key, value in record_of(9_000_000).items()}
        rows = [{key: value for key, value in (base | change).items() if value is not ...} for change in changes]
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write
