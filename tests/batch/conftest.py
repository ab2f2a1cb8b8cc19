"""A small model that answers at once, and clips to ask it about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.engines.conftest import random_checkpoint  # noqa: F401  # the fixture
from vtcli.ask import Question
from vtcli.batch.items import Item
from vtcli.engines.base import SamplingOptions
from vtcli.session import Session

Make = Callable[..., list[Item]]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four clips of two seconds, each with a square of its own colour."""
    folder = tmp_path_factory.mktemp("batch")
    return [write_square(folder / f"{name}.mp4", 60 * number) for number, name in enumerate("abcd")]


def write_square(path: Path, green: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(20):
            picture = np.full((64, 96, 3), 30, np.uint8)
            picture[20:40, number : number + 16] = (230, green, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def make(clips: list[Path], random_checkpoint: Path) -> Make:  # noqa: F811
    """Items: every question about every clip, question by question, so that a video's are apart."""

    def items(questions: int = 2, videos: list[Path] | None = None, **changes: Any) -> list[Item]:
        sampling = SamplingOptions(max_tokens=4, temperature=0)
        return [
            Item(
                f"{video.stem}{number}",
                Question(video, f"what is {number}?", random_checkpoint, **{"sampling": sampling} | changes),
            )
            for number in range(questions)
            for video in videos or clips
        ]

    return items


@pytest.fixture(scope="module")
def session(random_checkpoint: Path) -> Iterator[Session]:  # noqa: F811
    with Session(Question("", "", random_checkpoint)) as session:
        yield session
