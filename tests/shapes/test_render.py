"""Pictures show what the scene says, at any size, and survive an mp4 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vtcli.shapes.render import PALETTE, render, write_clip
from vtcli.shapes.world import make_scene, split_seed


@pytest.mark.parametrize("size", [112, 224, 301])
def test_a_shape_is_where_the_scene_says_in_its_colour(size: int) -> None:
    for number in range(20):
        scene = make_scene(split_seed("test", number))
        image = render(scene, [0.0], size)[0]
        for shape in scene.shapes:
            x, y = (int(v * size) for v in shape.start)
            near = np.abs(image[y, x].astype(int) - PALETTE[shape.colour]).max() <= 1
            assert near != shape.hidden


def test_a_turning_shape_shows_both_colours() -> None:
    scene, event = next(
        (s, e) for n in range(100) for s in [make_scene(split_seed("test", n))] for e in s.events if e.kind == "turn"
    )
    state = scene.state(event.actor, (event.start + event.end) / 2)
    assert state is not None and state.new_colour is not None and 0.4 < state.spread < 0.6
    colours = {tuple(c) for c in render(scene, [(event.start + event.end) / 2])[0].reshape(-1, 3).tolist()}
    assert PALETTE[state.colour] in colours and PALETTE[state.new_colour] in colours


def test_a_clip_file_holds_every_frame_at_its_time(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    scene = make_scene(split_seed("test", 3), duration=6.5, fps=12.0)
    write_clip(scene, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == scene.frames == 78
    assert [f.time for f in frames] == pytest.approx([n / 12 for n in range(78)])
    drawn = render(scene, [frames[40].time], frames[40].width)[0]
    assert np.abs(frames[40].to_ndarray(format="rgb24").astype(int) - drawn).mean() < 3
