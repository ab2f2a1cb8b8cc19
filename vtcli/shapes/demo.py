"""The sample clip of `vt demo`: one scene of the test split, so that the embedded model has never seen it."""

from __future__ import annotations

from pathlib import Path

from vtcli.shapes.questions import Question, questions
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed

_CLIP = 10_000_323
"""A clip in which one shape pushes another out: something to ask "why" about."""


def demo_scene() -> Scene:
    """The scene of the sample clip: 8 seconds at 25 frames per second."""
    return make_scene(split_seed("test", _CLIP), duration=8.0, fps=25.0)


def demo_question() -> Question:
    """What `vt demo` asks, with the true answer."""
    return next(question for question in questions(demo_scene()) if question.kind == "why")


def write_demo(path: Path) -> tuple[str, list[str]]:
    """Writes the sample clip to `path`; returns the question and its choices (none: an open question)."""
    write_clip(demo_scene(), path)
    question = demo_question()
    return question.text, list(question.choices)
