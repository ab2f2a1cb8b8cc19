"""`vt probe` and `vt frames`: JSON as the schemas say, pictures on disk, names that cannot command a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from tests.conftest import ROOT
from tests.e2e.conftest import validate
from tests.video.conftest import Clip, number_of, picture
from vtcli.cli.frames import frames
from vtcli.cli.probe import probe
from vtcli.errors import UsageError, VideoError, VtError

posix = pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise")

app = typer.Typer()
app.command()(probe)
app.command()(frames)


def vt(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of HDR10 video in two groups, squeezed and turned, with sound and a cover."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx265", rate=25, options={"x265-params": "keyint=25:min-keyint=25:log-level=0"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p10le"
        context = video.codec_context
        context.sample_aspect_ratio = Fraction(2, 1)
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        video.set_display_rotation(90)
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(picture(number, 160, 96), format="rgb24").reformat(format="yuv420p10le")
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, 16, 1
            container.mux(video.encode(frame))
        container.mux(video.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    return path


def test_probe_json(clip: Clip) -> None:
    result = vt("probe", clip(rotation=90), "--json")
    record = json.loads(result.stdout)
    validate(record, "probe")
    assert (record["frames"], record["width"], record["height"], record["rotation"]) == (50, 96, 160, 90)
    assert len(record["times"]) == 50
    assert result.stderr == ""


def test_probe_tells_what_the_file_holds(film: Path) -> None:
    record = json.loads(vt("probe", film, "--json").stdout)
    validate(record, "probe")
    assert (record["codec"], record["pixel_format"], record["bits"]) == ("hevc", "yuv420p10le", 10)
    assert record["color"] == {
        "primaries": "bt2020", "transfer": "smpte2084", "matrix": "bt2020nc", "range": "tv", "hdr": "PQ"
    }  # fmt: skip
    assert (record["stored"], record["pixel_aspect"]) == ([160, 96], "2:1")
    assert (record["width"], record["height"], record["rotation"]) == (96, 320, 90)
    assert (record["key_frames"], record["longest_group"]) == (2, pytest.approx(1.0))
    assert (record["variable_rate"], record["longest_interval"]) == (False, pytest.approx(0.04))
    assert (record["bytes"], record["interlaced"]) == (film.stat().st_size, False)
    assert [(s["index"], s["kind"], s["codec"]) for s in record["streams"]] == [
        (0, "video", "hevc"),
        (1, "audio", "aac"),
    ]
    assert (record["streams"][1]["rate"], record["streams"][1]["layout"]) == (8000, "mono")
    assert record["streams"][0]["duration"] == pytest.approx(2.0)


def test_probe_text(film: Path) -> None:
    lines = vt("probe", film).stdout.splitlines()
    assert lines[1].startswith("format    QuickTime / MOV, ")
    assert lines[2:8] == [
        "video     hevc, 96×320 as displayed, 160×96 stored, pixels 2:1, turned by 90°",
        "colours   yuv420p10le, 10 bits, bt2020nc/bt2020/smpte2084, tv, HDR (PQ)",
        "frames    50 at 25 a second, evenly spaced",
        "keys      2 key frames, a group lasts up to 1 s",
        "duration  2.000 s, from 0.000 s on the file's clock",
        "stream 0  video hevc, 160×96, 2.00 s  ← read",
    ]
    assert lines[8].startswith("stream 1  audio aac, 8 kHz mono")


def test_probe_text_of_a_name_that_commands(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.mkv"
    try:
        clip("vfr.mkv", frames=4, ticks=[0, 40, 1000, 5000]).rename(path)
    except OSError:
        pytest.skip("not a file name here")
    result = vt("probe", path)
    assert "4 at" in result.stdout
    assert "variable: up to 4 s apart" in result.stdout
    assert "\x1b" not in result.output
    assert all(line[:10].strip() for line in result.stdout.splitlines())
    assert result.stderr.startswith("vt: warning: the file states 25 frames a second")


def test_probe_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(picture(number, 64, 32)).save(folder / f"{number}.png")
    record = json.loads(vt("probe", folder, "--fps", "2", "--json").stdout)
    validate(record, "probe")
    assert (record["container"], record["frames"], record["key_frames"], record["streams"]) == ("folder", 5, None, [])


def test_frames(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    result = vt("frames", clip(frames=200), "-o", folder, "--frames", "4", "--start", "0:02", "--json")
    record = json.loads(result.stdout)
    validate(record, "frames")
    assert record["sampling"]["indices"] == [50, 100, 149, 199]
    assert [Path(f).name for f in record["files"]] == [
        "000_2.000s.png", "001_4.000s.png", "002_5.960s.png", "003_7.960s.png",
    ]  # fmt: skip
    assert sorted(map(str, folder.iterdir())) == [*record["files"], str(folder / "frames.json"), record["sheet"]]
    for index, file in zip(record["sampling"]["indices"], record["files"], strict=True):
        pixels = np.asarray(Image.open(file))
        assert pixels.shape == (record["sampling"]["height"], record["sampling"]["width"], 3)
        assert number_of(pixels) == index
    beside = json.loads((folder / "frames.json").read_text())
    validate(beside, "frames")
    assert beside == record | {"files": [Path(f).name for f in record["files"]], "sheet": "sheet.jpg"}
    assert Image.open(record["sheet"]).width > 4 * 100


def test_frames_as_jpeg_without_sheet(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    record = json.loads(vt("frames", clip(frames=4), "-o", folder, "--format", "jpeg", "--no-sheet", "--json").stdout)
    assert record["sheet"] is None
    assert names(folder) == ["000_0.000s.jpg", "001_0.040s.jpg", "002_0.080s.jpg", "003_0.120s.jpg", "frames.json"]
    with Image.open(record["files"][3]) as image:
        assert image.format == "JPEG"
        assert number_of(np.asarray(image)) == 3


def test_frames_text(clip: Clip, tmp_path: Path) -> None:
    result = vt("frames", clip(frames=4, fps=2), "-o", tmp_path / "out")
    assert len(result.stdout.splitlines()) == 4
    assert "16 frames were asked for, 4 are there" in result.stderr
    assert result.stderr.splitlines()[-1] == f"vt: all 4 frames on one sheet: {tmp_path / 'out' / 'sheet.jpg'}"


def test_another_run_replaces_what_the_last_one_wrote_and_nothing_else(clip: Clip, tmp_path: Path) -> None:
    path, folder = clip(frames=40), tmp_path / "out"
    vt("frames", path, "-o", folder, "--frames", "8")
    (folder / "notes.txt").write_text("mine")
    (folder / "my.png").write_text("mine too")
    assert vt("frames", path, "-o", folder, "--frames", "2", "--no-sheet").exit_code == 0
    assert names(folder) == ["000_0.000s.png", "001_1.560s.png", "frames.json", "my.png", "notes.txt"]


def test_what_was_written_can_be_read_as_a_folder_of_pictures(clip: Clip, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    vt("frames", clip(frames=40), "-o", folder, "--frames", "8")
    result = vt("frames", folder, "--fps", "2", "-o", tmp_path / "again", "--frames", "8", "--json")
    record = json.loads(result.stdout)
    assert (record["video"]["frames"], record["warnings"]) == (8, [])  # the sheet is none of them


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("007_1.000s.png", "?"),
        ("sheet.jpg", "?"),
        ("frames.json", "{}"),
        ("frames.json", '{"schema": "vt.frames/1", "files": 3}'),
        ("frames.json", "["),
    ],
)
def test_files_of_others_are_not_touched(clip: Clip, tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text(text)
    result = vt("frames", clip(frames=4), "-o", folder)
    assert isinstance(result.exception, VtError)
    assert name in str(result.exception)
    assert "give another folder" in str(result.exception)
    assert names(folder) == [name]
    assert (folder / name).read_text() == text


def test_a_record_cannot_have_other_files_removed(clip: Clip, tmp_path: Path) -> None:
    folder, precious = tmp_path / "out", tmp_path / "000_1.000s.png"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    precious.write_text("mine")
    files = ["../000_1.000s.png", str(precious), "notes.txt", "..", "000_0.000s.png/../notes.txt", 7, None]
    (folder / "frames.json").write_text(json.dumps({"schema": "vt.frames/1", "files": files, "sheet": "notes.txt"}))
    assert vt("frames", clip(frames=4), "-o", folder, "--frames", "2").exit_code == 0
    assert precious.read_text() == (folder / "notes.txt").read_text() == "mine"


def test_nothing_is_left_where_writing_fails(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = clip(frames=8), tmp_path / "out"
    vt("frames", path, "-o", folder, "--frames", "4")
    before = {name: (folder / name).read_bytes() for name in names(folder)}

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vtcli.video.export.contact_sheet", full)
    result = vt("frames", path, "-o", folder, "--frames", "2")
    assert "No space left on device" in str(result.exception)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    assert isinstance(vt("frames", path, "-o", tmp_path / "other").exception, VtError)
    assert not (tmp_path / "other").exists()


@posix
def test_ctrl_c_leaves_whole_runs_only(clip: Clip, tmp_path: Path) -> None:
    """Interrupted at whatever moment, the folder holds all of a run or nothing of it."""
    path, folder = clip(frames=250, width=64, height=64), tmp_path / "out"
    command = [sys.executable, "-m", "vtcli", "frames", str(path), "-o", str(folder), "--frames", "200"]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + 120
        while not folder.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert b"Traceback" not in errors
        if process.returncode == 130 and not folder.exists():
            return
        # It was done already: whole, and again.
        assert len(json.loads((folder / "frames.json").read_text())["files"]) + 2 == len(names(folder))
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def stopped_while_writing(path: Path, folder: Path, number: int) -> int:
    """Sends a signal to `vt frames` once it has written pictures; returns its exit code."""
    # Under nohup or in the background the tests inherit signals that are ignored.
    boot = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    boot += "from vtcli.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", boot, "frames", str(path), "-o", str(folder), "--frames", "200"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob(".vt-*/002_*.png")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert errors == b""
        return process.returncode


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_ending_the_process_leaves_whole_runs_only(clip: Clip, tmp_path: Path, number: int) -> None:
    path, folder = clip(frames=250, width=320, height=320), tmp_path / "out"
    assert stopped_while_writing(path, folder, number) == 128 + number
    assert not folder.exists()
    vt("frames", path, "-o", folder, "--frames", "2")
    before = names(folder)
    assert stopped_while_writing(path, folder, number) == 128 + number
    assert names(folder) == before


@posix
def test_the_next_run_removes_what_a_killed_one_left(clip: Clip, tmp_path: Path) -> None:
    path, folder = clip(frames=250, width=320, height=320), tmp_path / "out"
    assert stopped_while_writing(path, folder, signal.SIGKILL) == -signal.SIGKILL
    assert len(names(folder)) == 1
    assert len(list(folder.glob(".vt-????????/*.png"))) >= 3
    assert vt("frames", path, "-o", folder, "--frames", "2", "--no-sheet").exit_code == 0
    assert names(folder) == ["000_0.000s.png", "001_9.960s.png", "frames.json"]


def test_errors(clip: Clip, tmp_path: Path) -> None:
    path, out = clip(), tmp_path / "out"
    for arguments, kind in [
        (("probe", tmp_path / "no.mp4"), VideoError),
        (("frames", path, "-o", out, "--frames", "0"), UsageError),
        (("frames", path, "-o", out, "--frames", "4", "--fps", "1"), UsageError),
        (("frames", path, "-o", out, "--start", "1:00"), UsageError),
        (("frames", path, "-o", path, "--frames", "2"), VtError),
        (("frames", path, "-o", path / "below", "--frames", "2"), VtError),
    ]:
        assert isinstance(vt(*arguments).exception, kind), arguments
    assert not out.exists()
