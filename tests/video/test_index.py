"""What packets a file holds: from its tables and from the packets themselves, and that both say the same."""

from __future__ import annotations

import pickle
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.conftest import Clip
from vtcli.errors import VideoError
from vtcli.video import index
from vtcli.video.groups import Group, plan_groups
from vtcli.video.index import NO_TIME, PacketIndex
from vtcli.video.probe import VideoInfo, probe


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[VideoInfo, bool]:
    """What `probe` says of `path`, after checking that a scan of the packets says the same; whether it took none."""
    used = []

    def spied(*arguments: Any) -> Any:
        found = from_tables(*arguments)
        used.append(found is not None)
        return found

    from_tables = index._from_tables
    with monkeypatch.context() as patch:
        patch.setattr(index, "_from_tables", spied)
        info = probe(path)
    with monkeypatch.context() as patch:
        patch.setattr(index, "_agreed_tables", lambda *_: None)
        scanned = probe(path)
    assert info == scanned, path
    assert info.packets is not None and scanned.packets is not None
    for name in ("pts", "dts", "shown", "last_length"):
        assert np.array_equal(getattr(info.packets, name), getattr(scanned.packets, name)), (path, name)
    return info, used == [True]


@pytest.mark.parametrize(
    "made",
    [
        {"frames": 90, "options": {"bf": "3", "g": "30"}},
        {"name": "clip.mov", "options": {"bf": "0"}},
        {"frames": 1},
        {"frames": 2},
        {"ticks": [0, 40, 80, 1000, 1500, 1600, 4000, 4040], "frames": 8, "options": {"bf": "2"}},
        {"ticks": [5000 + 40 * i for i in range(50)]},
        {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
        {"codec": "libx265", "options": {"x265-params": "keyint=20:log-level=none"}},
        {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "g": "20"}},
        {"rotation": 90, "aspect": Fraction(64, 51)},
        {"name": "intra.mov", "codec": "png", "pix_fmt": "rgb24"},
    ],
)
def test_tables_say_what_the_packets_say(clip: Clip, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    info, took_tables = both_ways(clip(**made), monkeypatch)
    assert took_tables
    assert info.packets is not None and len(info.packets.pts) == info.frames


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.avi"])
def test_other_files_are_scanned(clip: Clip, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not both_ways(clip(name, frames=60), monkeypatch)[1]


def remux(source: Path, target: Path, first: int = 0, sound: bool = False, **options: str) -> Path:
    """Copies the packets of `source` from number `first` on, and with `sound` some silence."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if sound:
            audio = new.add_stream("aac", rate=48000)
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size and number >= first:
                packet.stream = stream
                new.mux(packet)
                if sound:
                    frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
                    frame.sample_rate, frame.pts = 48000, number * 2048
                    new.mux(audio.encode(frame))
        if sound:
            new.mux(audio.encode())
    return target


def test_sound_between_the_pictures(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = remux(clip(frames=60), tmp_path / "sound.mp4", sound=True)
    assert both_ways(path, monkeypatch)[1]


def test_fragments_are_scanned(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = remux(clip(frames=60), tmp_path / "parts.mp4", movflags="frag_keyframe+empty_moov")
    assert not both_ways(path, monkeypatch)[1]


def edit_list(path: Path, start: int) -> None:
    """Has the film begin `start` ticks of its own clock later than it does."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    time = int.from_bytes(data[entry + 4 : entry + 8], "big")
    data[entry + 4 : entry + 8] = (time + start).to_bytes(4, "big")
    path.write_bytes(data)


def test_frames_hidden_by_an_edit_list(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(frames=60, options={"bf": "2", "g": "20"})
    whole = probe(path)
    edit_list(path, 5 * 512)
    info, took_tables = both_ways(path, monkeypatch)
    assert (info.frames, took_tables) == (whole.frames - 5, False)


def test_file_shorter_than_its_tables(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = remux(clip(frames=100), tmp_path / "fast.mp4", movflags="faststart")
    path.write_bytes(path.read_bytes()[:-500])
    info, took_tables = both_ways(path, monkeypatch)
    assert not took_tables
    assert info.frames < 100


def test_damaged_tables(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bytes of the header change, the tables are not believed against the packets."""
    data = clip(frames=40, options={"bf": "2", "g": "10"}).read_bytes()
    header = data.rindex(b"moov")
    chance = random.Random(7)
    path = tmp_path / "damaged.mp4"
    taken = 0
    for _ in range(60):
        damaged = bytearray(data)
        place = chance.choice([data.rindex(name) for name in (b"stts", b"ctts", b"stss", b"stsz", b"elst", b"moov")])
        damaged[min(place + chance.randrange(4, 60), len(data) - 1)] = chance.choice((0, 1, 127, 255))
        path.write_bytes(damaged)
        try:
            taken += both_ways(path, monkeypatch)[1]
        except VideoError:
            with pytest.raises(VideoError):
                probe(path)
    assert header > 0 and taken > 10


def test_every_clip_of_the_material(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took_tables = 0
    for path in sorted((material / "videos").rglob("*.*")):
        try:
            probe(path)
        except VideoError:
            continue
        took_tables += both_ways(path, monkeypatch)[1]
    assert took_tables > 20


def test_index_travels(clip: Clip) -> None:
    info = probe(clip(frames=30))
    copy = pickle.loads(pickle.dumps(info))
    assert copy == info
    assert np.array_equal(copy.packets.order, info.packets.order)  # type: ignore[union-attr]


def made_index(pts: list[int], keys: list[int], hidden: tuple[int, ...] = ()) -> PacketIndex:
    numbers = np.arange(len(pts))
    return PacketIndex(np.array(pts), numbers.copy(), np.isin(numbers, keys), ~np.isin(numbers, hidden), 1)


def test_groups_of_wanted_frames() -> None:
    index = made_index([0, 3, 1, 2, 4, 7, 5, 6], keys=[0, 4])
    assert index.order is not None and index.order.tolist() == [0, 2, 3, 1, 4, 6, 7, 5]
    assert plan_groups(index, [0, 2]) == [Group(0, (0, 3))]
    assert plan_groups(index, [7, 1, 1]) == [Group(0, (2,)), Group(4, (5,))]
    assert [g.cost for g in plan_groups(index, [7, 1]) or []] == [3, 2]


def test_open_group_needs_the_one_before() -> None:
    # The key packet 3 is shown at 5; 3 and 4, stored after it, are shown before it.
    index = made_index([0, 2, 1, 5, 3, 4, 7, 6], keys=[0, 3])
    assert plan_groups(index, [4, 5, 6]) == [Group(0, (5,)), Group(3, (3, 7))]


def test_no_groups_without_times_or_key() -> None:
    assert plan_groups(made_index([0, 1, NO_TIME], keys=[0]), [0]) is None
    assert plan_groups(made_index([0, 1, 1], keys=[0]), [0]) is None
    assert plan_groups(made_index([0, 1, 2], keys=[2]), [1]) is None
    # A packet that becomes no frame may carry any time, and is no frame's number.
    assert plan_groups(made_index([0, 1, 1, 2], keys=[0], hidden=(1,)), [1]) == [Group(0, (2,))]
