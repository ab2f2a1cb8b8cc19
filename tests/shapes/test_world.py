"""Scenes are what they claim: deterministic, apart in time, clear of each other, disjoint between splits."""

from __future__ import annotations

import math

import pytest

from vtcli.shapes.world import RADIUS, Scene, make_scene, split_seed

SCENES = [make_scene(split_seed("test", n), duration) for n in range(150) for duration in (6.0, 8.0, 13.5, 24.0)]


def test_the_same_seed_gives_the_same_scene() -> None:
    assert make_scene(7) == make_scene(7)
    assert make_scene(7) != make_scene(8)


def test_a_known_scene_has_not_changed() -> None:
    """Clips are named by their seeds in published scores: a change of the generator must be noticed."""
    scene = make_scene(0)
    assert [(s.colour, s.form, s.hidden) for s in scene.shapes] == [
        ("yellow", "square", False),
        ("blue", "triangle", True),
    ]
    assert [(e.kind, e.start, e.end, e.direction) for e in scene.events] == [
        ("move", 0, 2, "up"),
        ("leave", 2, 5, "right"),
        ("appear", 5, 8, None),
    ]


def test_splits_never_share_a_seed() -> None:
    assert split_seed("train", 2**40 - 1) < split_seed("validation", 0)
    assert split_seed("validation", 2**40 - 1) < split_seed("test", 0)
    with pytest.raises(ValueError):
        split_seed("train", 2**40)


def test_events_are_apart_and_inside_the_clip() -> None:
    for scene in SCENES:
        edges = [edge for event in scene.events for edge in (event.start, event.end)]
        assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= scene.duration
        assert all(event.end - event.start >= 2 for event in scene.events)


def test_every_kind_of_event_occurs() -> None:
    kinds = {event.kind for scene in SCENES for event in scene.events}
    assert kinds == {"move", "leave", "appear", "disappear", "turn", "push", "push_out"}


def test_shapes_differ_in_form_and_colour_at_every_moment() -> None:
    for scene in SCENES:
        assert len({shape.form for shape in scene.shapes}) == len(scene.shapes)
        for time in range(int(scene.duration) + 1):
            colours = [s.colour for n in range(len(scene.shapes)) if (s := scene.state(n, time)) is not None]
            assert len(set(colours)) == len(colours)


def test_shapes_never_overlap() -> None:
    for scene in SCENES:
        for tenth in range(int(scene.duration * 10) + 1):
            states = [s for n in range(len(scene.shapes)) if (s := scene.state(n, tenth / 10)) is not None]
            for i, one in enumerate(states):
                for other in states[:i]:
                    assert math.dist(one.centre, other.centre) >= 2 * RADIUS - 1e-6


def _last_event(kind: str) -> tuple[Scene, int]:
    return next((scene, n) for scene in SCENES for n, event in enumerate(scene.events) if event.kind == kind)


@pytest.mark.parametrize("kind", ["leave", "disappear"])
def test_who_leaves_is_gone_for_good(kind: str) -> None:
    scene, number = _last_event(kind)
    event = scene.events[number]
    assert scene.state(event.actor, event.start) is not None
    assert event.actor not in scene.present(event.end + 1e-9)
    assert event.actor not in scene.present(scene.duration)


def test_a_pushed_shape_moves_only_when_touched_and_ends_where_it_should() -> None:
    scene, number = _last_event("push")
    event = scene.events[number]
    assert event.target is not None and event.target_path is not None
    before = scene.state(event.target, event.start + 1e-6)
    after = scene.state(event.target, event.end + 1e-6)
    assert before is not None and after is not None
    assert before.centre == pytest.approx(event.target_path[0], abs=1e-6)
    assert after.centre == pytest.approx(event.target_path[1], abs=1e-6)
