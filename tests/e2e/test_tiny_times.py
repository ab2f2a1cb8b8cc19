"""The embedded model as an alarm: it reads seconds from positions, so a wrong clock anywhere shows in its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Vt
from vtcli import ask
from vtcli.engines.base import Engine, Request, SamplingOptions
from vtcli.layout import build_layout
from vtcli.models.checkpoint import open_checkpoint
from vtcli.scoring.spans import iou
from vtcli.shapes.language import truth
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import Scene, make_scene, split_seed

QUESTION = "What happens first?"
CLIPS = range(200_000, 200_008)


@pytest.fixture(scope="module")
def engine(tiny: str) -> Iterator[Engine]:
    pytest.importorskip("torch")
    from vtcli.engines.transformers import TransformersEngine
    from vtcli.models.tokenizer import Tokenizer

    checkpoint = open_checkpoint(tiny)
    engine = TransformersEngine(checkpoint, Tokenizer(checkpoint.path), "cpu")
    engine.open()
    yield engine
    engine.close()


def requests(tiny: str, folder: Path, seconds: float) -> Iterator[tuple[Scene, Request, list[int]]]:
    """Each clip's scene, its request, and the prompt ids with the video as one token."""
    for number in CLIPS:
        scene = make_scene(split_seed("test", number), seconds)
        write_clip(scene, folder / f"{number}.mp4")
        sampling = SamplingOptions(max_tokens=400, temperature=0)
        plan = ask.prepare(ask.Question(folder / f"{number}.mp4", QUESTION, tiny, sampling=sampling))
        yield scene, ask.read(plan)[1], list(plan.prompt_ids)


def clocked(request: Request, ids: list[int], second_per_grid: float, pad: int) -> Request:
    """The same pictures, told to be `second_per_grid` seconds apart."""
    layout = build_layout(ids, request.grid, second_per_grid, video_token_id=pad)
    return replace(request, layout=layout, second_per_grid=second_per_grid)


def told_times(engine: Engine, request: Request) -> list[tuple[float, float]]:
    trace, _ = ask.reply(engine, request)
    return [(s.start, s.end) for s in trace.segments if s.start is not None and s.end is not None]


def overlap(scene: Scene, told: list[tuple[float, float]], scale: float = 1.0) -> float:
    """Mean IoU of the true segments, stretched by `scale`, with the best of those told."""

    facts = [(fact.start * scale, fact.end * scale) for fact in truth(scene)]
    return sum(max((iou(fact, one) for one in told), default=0.0) for fact in facts) / len(facts)


@pytest.mark.parametrize(("seconds", "least"), [(8.0, 0.8), (20.0, 0.6)])
def test_times_are_true_whatever_the_length(
    engine: Engine, tiny: str, tmp_path: Path, seconds: float, least: float
) -> None:
    found = [overlap(scene, told_times(engine, request)) for scene, request, _ in requests(tiny, tmp_path, seconds)]
    assert sum(found) / len(found) >= least


@pytest.mark.slow
def test_a_wrong_frame_rate_makes_wrong_times(engine: Engine, tiny: str, tmp_path: Path) -> None:
    """Told that 8 s last 16, the model says so: its times fit the stretched truth and not the real one."""
    pad = open_checkpoint(tiny).video_token_id
    right, wrong = [], []
    for scene, request, ids in requests(tiny, tmp_path, 8.0):
        told = told_times(engine, clocked(request, ids, 2 * request.second_per_grid, pad))
        right.append(overlap(scene, told))
        wrong.append(overlap(scene, told, scale=2.0))
    assert sum(right) / len(right) < 0.5
    assert sum(wrong) / len(wrong) > 0.6


@pytest.mark.slow
def test_positions_without_time_make_wrong_times(engine: Engine, tiny: str, tmp_path: Path) -> None:
    """The trap of frames passed without metadata: 24 frames a second are assumed, every pair gets one position."""
    pad = open_checkpoint(tiny).video_token_id
    found = [
        overlap(scene, told_times(engine, clocked(request, ids, 2 / 24, pad)))
        for scene, request, ids in requests(tiny, tmp_path, 8.0)
    ]
    assert sum(found) / len(found) < 0.5


def test_a_window_is_told_on_the_files_own_clock(vt: Vt, tiny: str, tmp_path: Path) -> None:
    """`--start`: the model counts from the window's first frame, the record from the file's."""
    scene = make_scene(split_seed("test", 200_003), 24.0, fps=10.0)
    write_clip(scene, tmp_path / "clip.mp4")
    last = truth(scene)[-1]
    start = max(0, last.start - 4)
    done = vt("ask", str(tmp_path / "clip.mp4"), "What happens last?", "-m", "tiny", "--start", str(start), "--json")
    assert done.returncode == 0, done.stderr
    segments = json.loads(done.stdout)["segments"]
    assert segments and all(segment["start"] >= start for segment in segments)
