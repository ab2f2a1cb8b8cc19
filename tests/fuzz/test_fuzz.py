"""Mutated real files: frames, or one clear line; no crash that gets out, no hang, no flood of memory.

60 files in the default run, 2,000 by `make fuzz`. A file that fails is kept in build/fuzz, and its name makes it again:
`make fuzz FUZZ_ONLY=h264.mp4:17`. FUZZ_SEED=n draws other damage, FUZZ_COUNT=n draws n times.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.fuzz.clips import write_films
from tests.fuzz.mutate import mutate
from vtcli.errors import VtError
from vtcli.video.guard import Guard
from vtcli.video.sampling import FrameRequest, plan_frames

MOST_CPU = 10.0  # seconds: time on the wall would be that of a busy machine
MOST_MEMORY = 10**9  # bytes
LARGEST = 2 << 20  # bytes: real files beyond that only make the mutations thinner
KEPT = ROOT / "build" / "fuzz"

# How messages begin that say that the guard had to step in.
_STEPS_IN = {
    "the decoder crashed": "crashed",
    "took longer": "too long",
    "gave nothing": "too long",
    "needs more memory": "too much memory",
    "was ended by the system": "killed",
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SVT_LOG", "1")  # errors only
        return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


def outcome(guard: Guard, path: Path) -> str:
    """What became of the file, in a word. Raises AssertionError for what no file may do."""
    request = FrameRequest()
    cpu = 0.0
    try:
        info = guard.probe(path)
        cpu += guard.usage.cpu
        assert guard.usage.memory <= MOST_MEMORY, f"probing took {guard.usage.memory / 1e6:.0f} MB"
        assert info.frames == len(info.times) > 0
        assert all(np.isfinite((*info.times, info.duration, info.fps, info.start)))
        assert all(a <= b for a, b in pairwise(info.times))
        assert min(info.width, info.height, info.fps) > 0
        guard.run(path, "vtcli.video.details:describe", path)
        cpu += guard.usage.cpu
        plan = plan_frames(info, request)
        frames = guard.read_frames(info, plan, request)
        cpu += guard.usage.cpu
        count = len(frames.indices)
        assert frames.pixels.shape == (count, frames.plan.height, frames.plan.width, 3)
        assert frames.pixels.dtype == np.uint8
        assert count == len(frames.times)
        assert count % 2 == 0
        assert 2 <= count <= 16
        assert all(np.isfinite(frames.times))
        assert all(a <= b for a, b in pairwise(frames.times))
        assert list(frames.indices) == sorted(frames.indices)
        warnings = (*info.warnings, *frames.plan.warnings, *frames.warnings)
        assert all(warning.isprintable() for warning in warnings), warnings
        word = "frames, with a warning" if warnings else "frames"
    except VtError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 500, message
        word = next((word for words, word in _STEPS_IN.items() if words in message), "refused")
    assert word != "too long", f"took more than {guard._limit} s"
    assert guard.usage.memory <= MOST_MEMORY, f"took {guard.usage.memory / 1e6:.0f} MB"
    assert cpu <= MOST_CPU, f"took {cpu:.1f} s of CPU time"
    return word


def fuzz(guard: Guard, files: list[Path], lenders: list[Path], count: int, folder: Path) -> Counter[str]:
    """Tries `count` mutated files, evenly over `files`; returns how many ended how. Fails with all that failed."""
    seed, only = os.environ.get("FUZZ_SEED", "0"), os.environ.get("FUZZ_ONLY", "")
    words: Counter[str] = Counter()
    failures = []
    for turn in range(count):
        name = f"{files[turn % len(files)].name}:{turn // len(files)}"
        if only and name != only:
            continue
        draw = Random(f"{seed}:{name}")
        path = folder / f"mutated{files[turn % len(files)].suffix}"
        other = draw.choice(lenders).read_bytes()
        path.write_bytes(mutate(files[turn % len(files)].read_bytes(), other, draw))
        try:
            words[outcome(guard, path)] += 1
        except Exception as error:
            KEPT.mkdir(parents=True, exist_ok=True)
            kept = path.rename(KEPT / f"{name.replace(':', '-')}-seed-{seed}{path.suffix}")
            failures.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]} ({kept.relative_to(ROOT)})")
    assert not failures, f"{len(failures)} of {count} (FUZZ_SEED={seed}), each made again by FUZZ_ONLY=\n" + "\n".join(
        failures
    )
    return words


def test_the_films_are_whole(guard: Guard, films: list[Path]) -> None:
    """What is mutated is read without a word before."""
    assert len(films) > 10
    assert {film.name: word for film in films if (word := outcome(guard, film)) != "frames"} == {}


def test_mutated_files(guard: Guard, films: list[Path], tmp_path: Path) -> None:
    words = fuzz(guard, films, films, 60, tmp_path)
    assert words["frames"] + words["frames, with a warning"] > 10
    assert words["refused"] > 5


@pytest.mark.fuzz
def test_many_mutated_files(
    guard: Guard, films: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    material = Path(os.environ.get("VT_MATERIAL", ROOT.parent / "shared" / "material"))
    real = [path for path in sorted(material.glob("videos/*/*")) if 0 < path.stat().st_size <= LARGEST]
    count = int(os.environ.get("FUZZ_COUNT", "2000"))
    words = fuzz(guard, films + real, films, count, tmp_path)
    with capsys.disabled():
        kinds = dict.fromkeys(("frames", "frames, with a warning", "refused", *_STEPS_IN.values()))
        print(f"\n{count} mutations of {len(films) + len(real)} files: { {kind: words[kind] for kind in kinds} }")
