"""decord and torchcodec give PyAV's frames at PyAV's times, or say why PyAV read the file instead.

Neither is needed to develop vt; `make peers` makes an environment that has both and runs this file there.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from importlib import util
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.conftest import Clip, number_of, picture
from vtcli.errors import VideoError
from vtcli.video.probe import probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames
from vtcli.video.source import resolve

INSTALLED = [name for name in ("decord", "torchcodec") if util.find_spec(name) is not None]
if not INSTALLED:
    pytest.skip("neither decord nor torchcodec is installed: `make peers`", allow_module_level=True)

CLOSED = {"bf": "3", "g": "24", "x264-params": "scenecut=0"}
OPEN = {"bf": "3", "x264-params": "open-gop=1:keyint=24:min-keyint=24:scenecut=0"}
UNEVEN = [40 * i + i % 3 * 9 + i // 40 * 700 for i in range(120)]
FIT: dict[str, dict[str, Any]] = {
    "clip.mp4": {"options": CLOSED},
    "clip.mkv": {"options": CLOSED},
    "clip.flv": {"options": CLOSED},
    "clip.avi": {"codec": "mpeg4", "options": {"g": "24"}},
    "clip.webm": {"codec": "libvpx-vp9", "options": {"g": "24", "cpu-used": "8"}},
    "uneven.mp4": {"options": CLOSED, "ticks": UNEVEN},
    "late.mkv": {"options": CLOSED, "ticks": [5000 + 40 * i for i in range(120)]},
    "late.mp4": {"options": CLOSED, "ticks": [5000 + 40 * i for i in range(120)]},
    "one-group.mp4": {"options": {"g": "999", "bf": "3"}},
    "squeezed.mp4": {"options": CLOSED, "aspect": Fraction(2, 1)},
    "odd.mp4": {"options": CLOSED, "width": 161, "height": 97, "pix_fmt": "yuv444p"},
}


@pytest.fixture(params=INSTALLED)
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(path: Path, reader: str, frames: int = 16) -> Frames:
    request = FrameRequest(frames=frames)
    info = probe(path)
    return read_frames(info, plan_frames(info, request), request, reader)


def assert_same(one: Frames, other: Frames, levels: float) -> None:
    assert (one.indices, one.times, one.plan) == (other.indices, other.times, other.plan)
    assert np.abs(one.pixels.astype(int) - other.pixels).mean(axis=(1, 2, 3)).max() < levels


@pytest.mark.parametrize("name", FIT)
def test_frames_and_times(clip: Clip, reader: str, name: str) -> None:
    path = clip(name, **{"frames": 120, **FIT[name]})
    frames = read(path, reader)
    assert (frames.reader, frames.warnings) == (reader, ())
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
    assert_same(frames, read(path, "pyav"), 1.0)


def test_every_frame(clip: Clip, reader: str) -> None:
    frames = read(clip(frames=120, options=CLOSED), reader, frames=120)
    assert [number_of(pixels) for pixels in frames.pixels] == list(range(120))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation(clip: Clip, reader: str, rotation: int) -> None:
    path = clip(frames=30, width=256, rotation=rotation)
    frames = read(path, reader)
    assert frames.reader == reader
    assert_same(frames, read(path, "pyav"), 1.0)


def test_open_groups_are_too_much_for_decord(clip: Clip, reader: str) -> None:
    path = clip("open.mp4", frames=120, options=OPEN)
    frames = read(path, reader)
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
    assert frames.reader == ("pyav" if reader == "decord" else reader)
    assert frames.warnings == (
        ("decord shows neighbouring frames where groups of pictures are open: read with pyav instead",)
        if reader == "decord"
        else ()
    )


@pytest.mark.parametrize(
    ("name", "codec", "options", "why"),
    [
        ("clip.ts", "libx264", CLOSED, "does not seek to the right frames in MPEG-TS"),
        ("clip.mpg", "mpeg2video", {"g": "12", "bf": "2"}, "does not seek to the right frames in MPEG-PS"),
    ],
)
def test_files_without_an_index(
    clip: Clip, reader: str, name: str, codec: str, options: dict[str, str], why: str
) -> None:
    frames = read(clip(name, frames=120, codec=codec, options=options), reader)
    assert frames.reader == "pyav"
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
    assert len(frames.warnings) == 1
    assert frames.warnings[0].startswith(f"{reader} {why}")


def test_the_stream_asked_for(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=5) for _ in range(2)]
        for stream, width in zip(streams, (96, 192), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p"
        for number, stream in enumerate(streams):
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(picture(number, stream.width, 64), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 5)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    used = []
    for number in (0, 1):
        request = FrameRequest()
        with resolve(str(path), stream=number) as source:
            info = probe(source)
            frames = read_frames(info, plan_frames(info, request), request, reader)
        assert {number_of(pixels) for pixels in frames.pixels} == {number}
        used.append(frames.reader)
    assert used == (["pyav"] * 2 if reader == "decord" else [reader] * 2)


def test_transparency(clip: Clip, reader: str) -> None:
    frames = read(clip("clip.mov", frames=8, codec="png", pix_fmt="rgba"), reader)
    assert (frames.reader, frames.warnings) == (
        "pyav", (f"{reader} does not read transparency: read with pyav instead",)
    )  # fmt: skip


def test_cut_file(clip: Clip, reader: str) -> None:
    path = clip("cut.mkv", frames=250, options=CLOSED)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = read(path, reader)
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)


def test_a_frame_that_does_not_decode_is_not_replaced_by_another(clip: Clip, reader: str) -> None:
    path = clip("damaged.mkv", frames=60, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    middle = data.index(b"\xff\xd8\xff", len(data) // 2)
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    frames, expected = read(path, reader, frames=60), read(path, "pyav", frames=60)
    assert [round(t * 25) for t in frames.times] == [number_of(pixels) for pixels in frames.pixels]
    assert frames.indices == expected.indices


def test_other_times_than_probed_are_noticed(clip: Clip, reader: str) -> None:
    path = clip(frames=40, options=CLOSED)
    info = probe(path)
    moved = replace(info, times=tuple(t * 1.5 for t in info.times))
    request = FrameRequest()
    frames = read_frames(moved, plan_frames(moved, request), request, reader)
    assert frames.reader == "pyav"
    assert frames.warnings[0].startswith(f"{reader} ")


def test_every_clip_of_the_material(material: Path, reader: str) -> None:
    """Equal frames, or one line that names the reader and why it was not used."""
    refused, checked = {}, 0
    for path in sorted((material / "videos").rglob("*")):
        try:
            expected = read(path, "pyav")
        except VideoError:
            continue
        frames = read(path, reader)
        if frames.reader == "pyav":
            assert frames.warnings[0].startswith(reader), path
            refused[path.name] = frames.warnings[0]
            assert np.array_equal(frames.pixels, expected.pixels), path
        else:
            assert_same(frames, expected, 2.5)  # HDR differs most: the scalers of FFmpeg 4, 5 and 8 round otherwise
        checked += 1
    assert checked >= 40
    assert len(refused) < 12, refused
