"""Clips of moving shapes to train on."""

from __future__ import annotations

from pathlib import Path

from vtcli.train.shapes import write_shapes
from vtcli.video.probe import probe


def test_clips_are_made_without_worker_processes_too(tmp_path: Path) -> None:
    file = write_shapes(tmp_path, 2, workers=0)
    clips = sorted(tmp_path.rglob("*.mp4"))
    assert len(file.read_text().splitlines()) == len(clips) == 2
    assert all(probe(clip).frames > 0 for clip in clips)
