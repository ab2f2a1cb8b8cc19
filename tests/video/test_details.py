"""What `vt probe` tells beyond the frames, on real clips against ffprobe's facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import validate
from tests.video.conftest import Clip
from vtcli.cli.probe import _lines
from vtcli.errors import VideoError
from vtcli.video.details import describe, read_details
from vtcli.video.probe import probe

KINDS = {"v": "video", "a": "audio", "s": "subtitle"}


def test_every_clip_of_the_material(material: Path) -> None:
    videos = material / "videos"
    facts: list[dict[str, Any]] = json.loads((videos / "probe.json").read_text())
    checked = 0
    for fact in facts:
        name = fact["path"]
        try:
            info = probe(videos / name)
        except VideoError:
            continue
        details = read_details(info)
        record = describe(videos / name)
        validate(record, "probe")
        assert all(line.isprintable() for line in _lines(record)), name
        assert details.bytes == fact["bytes"], name
        streams = fact["streams"]
        assert [s.kind for s in details.streams] == ["picture" if s.get("pic") else KINDS[s["t"]] for s in streams], (
            name
        )
        assert [s.codec for s in details.streams] == [s["codec"] for s in streams], name
        assert details.container == fact["fmt"], name
        film = streams[info.stream]
        assert details.pixel_format == film["pix"], name
        assert (details.stored[0], details.stored[1]) == (film["w"], film["h"]), name
        assert details.interlaced == (film["field"] in ("tt", "bb", "tb", "bt")), name
        assert (details.color.transfer or "unknown") == (film["trc"] or "unknown"), name
        checked += 1
    assert checked >= 40


def test_groups(material: Path) -> None:
    details = read_details(probe(material / "videos/imageio-binaries/cockatoo.mp4"))
    assert (details.key_frames, details.longest_group) == (3, pytest.approx(6.75))


def test_a_single_frame(clip: Clip) -> None:
    """One frame, one group, no interval."""
    info = probe(clip(frames=1))
    details = read_details(info)
    assert (details.key_frames, details.variable_rate) == (1, False)
    assert details.longest_interval == details.longest_group == pytest.approx(info.duration)


def test_a_damaged_start(clip: Clip) -> None:
    """What the first frame tells is told by the first that decodes."""
    path = clip("clip.mov", frames=4, codec="png", pix_fmt="rgb24")
    whole = read_details(probe(path))
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", bytes(4), 1))
    assert (read_details(probe(path)).bits, whole.bits) == (8, 8)
