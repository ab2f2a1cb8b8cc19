"""`vt probe` and `vt frames`: JSON as the schemas say, pictures on disk, names that cannot command a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from tests.e2e.conftest import validate
from tests.video.conftest import Clip, number_of
from vtcli.cli.frames import frames
from vtcli.cli.probe import probe
from vtcli.errors import UsageError, VideoError, VtError

app = typer.Typer()
app.command()(probe)
app.command()(frames)


def vt(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_probe_json(clip: Clip) -> None:
    result = vt("probe", clip(rotation=90), "--json")
    record = json.loads(result.stdout)
    validate(record, "probe")
    assert (record["frames"], record["width"], record["height"], record["rotation"]) == (50, 96, 160, 90)
    assert len(record["times"]) == 50
    assert result.stderr == ""


def test_probe_text(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.mkv"
    try:
        clip("vfr.mkv", frames=4, ticks=[0, 40, 1000, 5000]).rename(path)
    except OSError:
        pytest.skip("not a file name here")
    result = vt("probe", path)
    assert "4 at" in result.stdout
    assert "\x1b" not in result.output
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr.startswith("vt: warning: the file states 25 frames a second")


def test_frames(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    result = vt("frames", clip(frames=200), "-o", folder, "--frames", "4", "--start", "0:02", "--json")
    record = json.loads(result.stdout)
    validate(record, "frames")
    assert record["sampling"]["indices"] == [50, 100, 149, 199]
    assert [Path(f).name for f in record["files"]] == [
        "000_2.000s.png", "001_4.000s.png", "002_5.960s.png", "003_7.960s.png",
    ]  # fmt: skip
    assert sorted(map(str, folder.iterdir())) == record["files"]
    for index, file in zip(record["sampling"]["indices"], record["files"], strict=True):
        picture = np.asarray(Image.open(file))
        assert picture.shape == (record["sampling"]["height"], record["sampling"]["width"], 3)
        assert number_of(picture) == index


def test_frames_text(clip: Clip, tmp_path: Path) -> None:
    result = vt("frames", clip(frames=4, fps=2), "-o", tmp_path / "out")
    assert len(result.stdout.splitlines()) == 4
    assert "16 frames were asked for, 4 are there" in result.stderr


def test_errors(clip: Clip, tmp_path: Path) -> None:
    path, out = clip(), tmp_path / "out"
    for arguments, kind in [
        (("probe", tmp_path / "no.mp4"), VideoError),
        (("frames", path, "-o", out, "--frames", "0"), UsageError),
        (("frames", path, "-o", out, "--frames", "4", "--fps", "1"), UsageError),
        (("frames", path, "-o", out, "--start", "1:00"), UsageError),
        (("frames", path, "-o", path, "--frames", "2"), VtError),
        (("frames", path, "-o", out, "--reader", "decord"), VtError),
    ]:
        assert isinstance(vt(*arguments).exception, kind), arguments
