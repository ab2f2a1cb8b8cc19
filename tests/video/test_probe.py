"""Facts of files: counted from packets, as displayed, every failure one line."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from tests.video.conftest import Clip
from vtcli.errors import VideoError
from vtcli.video.probe import average_rate, probe, with_frames


def test_steady_clip(clip: Clip) -> None:
    path = clip(frames=50, fps=25)
    info = probe(path)
    assert (info.frames, info.fps, info.start, info.rotation, info.stream, info.codec) == (50, 25.0, 0.0, 0, 0, "h264")
    assert info.duration == pytest.approx(2.0)
    assert info.times == tuple(i / 25 for i in range(50))
    assert info.warnings == ()
    assert info.as_json() == {
        "path": str(path), "duration": info.duration, "fps": 25.0, "width": 160, "height": 96, "frames": 50,
    }  # fmt: skip


def test_variable_rate_is_measured(clip: Clip) -> None:
    ticks = [0, 40, 80, 1000, 1500, 1600, 4000, 4040]
    info = probe(clip("vfr.mkv", frames=8, ticks=ticks))
    assert info.times == tuple(t / 1000 for t in ticks)
    assert info.fps == pytest.approx(8 / info.duration)
    assert any("timestamps give" in w for w in info.warnings)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_times_count_from_the_first_frame(clip: Clip, name: str) -> None:
    info = probe(clip(name, frames=20, ticks=[5000 + 40 * i for i in range(20)]))
    assert info.start == pytest.approx(5.0, abs=0.002)
    assert info.times[0] == 0.0
    assert info.times[-1] == pytest.approx(0.76, abs=0.002)
    assert info.duration == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"rotation": 90}, (96, 160)),
        ({"rotation": -90}, (96, 160)),
        ({"rotation": 180}, (160, 96)),
        ({"aspect": Fraction(2, 1)}, (320, 96)),
        ({"aspect": Fraction(64, 51)}, (201, 96)),
        ({"aspect": Fraction(2, 1), "rotation": 90}, (96, 320)),
        ({"width": 161, "height": 97, "pix_fmt": "yuv444p"}, (161, 97)),
    ],
)
def test_size_is_as_displayed(clip: Clip, options: dict[str, object], size: tuple[int, int]) -> None:
    info = probe(clip(**options))
    assert (info.width, info.height) == size


def test_webm_without_a_count(clip: Clip) -> None:
    info = probe(clip("clip.webm", codec="libvpx"))
    assert (info.frames, info.codec) == (50, "vp8")


def test_hidden_vp8_frames_do_not_count(clip: Clip) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "16"}
    assert probe(clip("clip.webm", codec="libvpx", frames=60, options=options)).frames == 60


def test_single_frame(clip: Clip) -> None:
    info = probe(clip(frames=1))
    assert (info.frames, info.times) == (1, (0.0,))
    assert info.duration == pytest.approx(0.04)


def test_cut_file_says_so(clip: Clip) -> None:
    path = clip("cut.mkv", frames=250)
    whole = probe(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert 0 < info.frames < whole.frames
    assert info.fps == 25.0
    assert any(w.startswith(f"video ends early: {info.frames} of 250 frames") for w in info.warnings)


def test_no_video(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 20)
    (tmp_path / "notes.txt").write_text("not a video at all\n" * 20)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    for name, words in [
        ("missing.mp4", "no such file"),
        (".", "folder"),
        ("empty.mp4", "empty"),
        ("text.mp4", "not a video"),
        ("notes.txt", "not a video"),
        ("noise.mp4", "not a video"),
        (sound.name, "only sound"),
    ]:
        with pytest.raises(VideoError, match=words) as error:
            probe(tmp_path / name)
        assert str(error.value).isprintable(), name


def test_header_without_frames(clip: Clip) -> None:
    path = clip("cut.mp4", frames=50)
    path.write_bytes(path.read_bytes()[:200])  # the index comes last
    with pytest.raises(VideoError, match="not a video that can be read"):
        probe(path)


@pytest.mark.skipif(os.name == "nt", reason="not a file name there")
def test_strange_names(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = clip(frames=3)
    for name in ["-dash.mp4", "http:x.mp4", "img%03d.mp4", "名前 'quote' 🎬.mp4", "a|b.mp4", "line\nbreak\x1b[31m.mp4"]:
        Path(name).write_bytes(source.read_bytes())
        assert probe(name).frames == 3
    with pytest.raises(VideoError) as error:
        probe("not\nhere\x1b[31m\u202e.mp4")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["", "-", "http://127.0.0.1:9/clip.mp4", "nul\0.mp4"])
def test_not_file_names(name: str) -> None:
    with pytest.raises(VideoError):
        probe(name)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
@pytest.mark.parametrize(
    "head",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXTINF:2,\n{}\n",  # live: FFmpeg would wait for more
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
def test_playlists_open_nothing(clip: Clip, tmp_path: Path, name: str, head: str) -> None:
    target = clip("target.mkv")
    (tmp_path / name).write_text(head.format(target.name))
    with pytest.raises(VideoError):
        probe(tmp_path / name)


def test_rate_is_the_stated_one_where_it_holds() -> None:
    warnings: list[str] = []
    assert average_rate(491, 22.028, 22.29, warnings) == 22.29
    assert average_rate(310, 10.333, 30.0, warnings) == 30.0
    assert average_rate(1, 0.04, 25.0, warnings) == 25.0
    assert warnings == []
    assert average_rate(68, 9.821, 28.0, warnings) == pytest.approx(6.924, abs=1e-3)
    assert average_rate(50, 2.0, None, warnings) == 25.0
    assert len(warnings) == 2


def test_a_late_start_is_not_an_early_end(clip: Clip) -> None:
    """QuickTime's length of a track counts from the film's zero; here 1.5 s before the first of 75 frames, of 100."""
    path = clip(frames=100, options={"bf": "0"})
    data = path.read_bytes()
    at = data.index(b"elst") - 12  # the box edts
    edits = struct.pack(">4i", 2, 1500, -1, 0x10000) + struct.pack(">3i", 3000, 0, 0x10000)
    elst = struct.pack(">I4sI", 12 + len(edits), b"elst", 0) + edits
    size = int.from_bytes(data[at : at + 4], "big")
    longer = 8 + len(elst) - size
    data = data[:at] + struct.pack(">I4s", 8 + len(elst), b"edts") + elst + data[at + size :]
    for box in (b"moov", b"trak"):
        begin = data.index(box) - 4
        grown = int.from_bytes(data[begin : begin + 4], "big") + longer
        data = data[:begin] + grown.to_bytes(4, "big") + data[begin + 4 :]
    path.write_bytes(data)
    info = probe(path)
    assert (info.frames, info.start, info.warnings) == (75, pytest.approx(1.5), ())


def test_with_frames_keeps_rate_and_zero(clip: Clip) -> None:
    info = probe(clip(frames=50))
    fewer = with_frames(info, info.times[:30], [])
    assert (fewer.frames, fewer.fps, fewer.times) == (30, 25.0, info.times[:30])
    assert fewer.duration == pytest.approx(1.2)
    later = with_frames(info, info.times[20:], warnings := list[str]())
    assert (later.frames, later.fps, later.times, warnings) == (30, 25.0, info.times[20:], [])
