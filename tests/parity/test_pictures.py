"""Questions about pictures, for training: tokens, positions and patches are those the reference's processor makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("yaml")

from tests.parity import runs
from tests.train.conftest import pictures  # noqa: F401  # the fixture
from vtcli.models.checkpoint import open_checkpoint
from vtcli.train.encode import Encoder
from vtcli.train.frames import picture_pixels
from vtcli.train.prompts import prompt_of
from vtcli.train.recipe_file import load_recipe
from vtcli.train.records import Record

pytestmark = [pytest.mark.parity, pytest.mark.skipif(runs.python() is None, reason="no reference: `make parity`")]


@pytest.mark.parametrize("name", ["tiny", "untied"])
def test_pictures_are_the_references(name: str, pictures: tuple[Path, ...], tmp_path: Path) -> None:  # noqa: F811
    """Of the 7B's limits on pixels, and of the smaller ones of `tiny`."""
    checkpoint = open_checkpoint(runs.model(name).path)
    recipe = load_recipe("video-thinker-7b")
    low, high = picture_pixels(recipe.frames, checkpoint)
    encoder = Encoder.of(checkpoint, recipe, None)
    records = {str(i): Record("a:1", "Which?", "free-form", "B", pictures=(file,)) for i, file in enumerate(pictures)}
    records["all"] = Record("a:1", "Which?", "free-form", "B", pictures=pictures)
    asked = prompt_of(records["all"], recipe.prompt)
    cases = [{"name": key, "files": list(map(str, record.pictures))} for key, record in records.items()]
    job = {"checkpoint": str(checkpoint.path), "out": str(tmp_path), "pictures": cases, "system": asked.system,
           "user": asked.user, "min_pixels": low, "max_pixels": high}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    python = runs.python()
    assert python is not None
    script = Path(__file__).with_name("reference.py")
    subprocess.run([python, script, tmp_path / "job.json"], env=os.environ | {"PYTHONPATH": ""}, check=True)
    for key, record in records.items():
        found = encoder.prompt(record)
        with np.load(tmp_path / f"{key}.npz") as expected:
            assert np.array_equal(found.ids, expected["input_ids"])
            assert np.array_equal(found.positions, expected["positions"])
            assert np.array_equal(found.grids, expected["grids"])
            assert np.abs(found.patches - expected["patches"]).max() < 1e-6
    encoder.store.close()
