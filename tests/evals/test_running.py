"""Runs in this process, of a small random model: what is asked, where it is kept, and what a refused command leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.batch.conftest import write_square
from tests.engines.conftest import random_checkpoint  # noqa: F401  # the fixture
from vtcli.ask import Question
from vtcli.batch.items import Shard
from vtcli.engines.base import SamplingOptions
from vtcli.errors import DataError, UsageError, VtError
from vtcli.evals.report import make_report
from vtcli.evals.running import Settings, answer_all, open_batch, source
from vtcli.evals.runs import open_run
from vtcli.session import Session

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def settings(random_checkpoint: Path) -> Settings:  # noqa: F811
    question = Question("", "", random_checkpoint, sampling=SamplingOptions(max_tokens=2, temperature=0, seed=0))
    return Settings(question, frames=(4,))


@pytest.fixture(scope="module")
def session(settings: Settings) -> Iterator[Session]:
    with Session(settings.question) as session:
        yield session


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Eight questions: two about each of v0.mp4 to v3.mp4, all of which are there."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(4):
        write_square(folder / f"v{number}.mp4", 60 * number)
    return questions(folder)


def questions(folder: Path) -> Path:
    record = {"question": "What happens?", "answer": "two", "options": ["one", "two"]}
    lines = [json.dumps({"id": f"q{n}", "video": f"v{n // 2}.mp4"} | record) for n in range(8)]
    (folder / "own.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "own.jsonl"


def run(folder: Path, own: Path, settings: Settings, session: Session, limit: int | None = None) -> list[str]:
    """Runs as `vt eval run` does; returns the ids of what was asked, in order."""
    found = source(f"jsonl:{own}", None, None, limit, folder)
    with open_batch(folder, found, settings, session) as running:
        coming = running.total - running.done
        asked = [progress.record["id"] for progress in answer_all(running, settings, print)]
        assert len(asked) == coming and running.done == running.total
    return asked


def ids(*numbers: int, frames: int = 4) -> list[str]:
    return [f"q{number}@{frames}#0" for number in numbers]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def setting(folder: Path) -> dict[str, Any]:
    return make_report(open_run(folder)).settings[0].record


def test_a_refused_command_changes_nothing(tmp_path: Path, own: Path, settings: Settings, session: Session) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match="--frames must be 1 or more, not 0"):
        run(folder, own, replace(settings, frames=(0, 4)), session)
    assert not folder.exists()
    run(folder, own, settings, session, limit=2)
    before = content(folder)
    with pytest.raises(UsageError, match="--frames must be 1 or more, not 0"):
        run(folder, own, replace(settings, frames=(0,)), session)
    found = source(f"jsonl:{own}", None, None, 2, folder)
    with (
        open_batch(folder, found, settings, session),
        pytest.raises(VtError, match="is being written by another run"),
    ):
        run(folder, own, replace(settings, frames=(8,)), session)
    assert content(folder) == before
    assert run(folder, own, settings, session, limit=2) == []


def test_a_run_that_was_killed_before_its_first_answer_goes_on(
    tmp_path: Path, own: Path, settings: Settings, session: Session
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "answers.jsonl").touch()
    assert run(folder, own, settings, session, limit=1) == ids(0)
    (folder / "run.json").unlink()
    with pytest.raises(DataError, match="is there and is no run"):
        run(folder, own, settings, session, limit=1)


def test_answered_questions_stay_when_their_videos_go_or_move(
    tmp_path: Path, own: Path, settings: Settings, session: Session
) -> None:
    folder = tmp_path / "run"
    run(folder, own, settings, session, limit=4)
    away = (own.parent / "v0.mp4").rename(tmp_path / "v0.mp4")
    assert run(folder, own, settings, session, limit=4) == []
    assert [setting(folder)[name] for name in ("missing", "failed", "unanswered")] == [0, 0, 0]

    more = replace(settings, frames=(8,))
    assert run(folder, own, more, session, limit=4) == ids(2, 3, frames=8)  # the others cannot be asked anew
    second = make_report(open_run(folder)).settings[1].record
    assert [second[name] for name in ("missing", "failed", "unanswered")] == [2, 0, 0]

    (own.parent / "moved").mkdir()
    away.rename(own.parent / "moved" / "v0.mp4")
    assert run(folder, own, more, session, limit=4) == ids(0, 1, frames=8)


def test_failed_questions_are_asked_again_where_their_video_is_now(
    tmp_path: Path, own: Path, settings: Settings, session: Session
) -> None:
    folder, video = tmp_path / "run", own.parent / "v0.mp4"
    good = video.read_bytes()
    video.write_bytes(b"no video")
    assert run(folder, own, settings, session, limit=2) == ids(0, 1)
    assert setting(folder)["failed"] == 2
    video.unlink()
    again = replace(settings, retry_failed=True)
    (own.parent / "moved").mkdir()
    (own.parent / "moved" / "v0.mp4").write_bytes(good)
    assert run(folder, own, settings, session, limit=2) == []
    assert run(folder, own, again, session, limit=2) == ids(0, 1)
    assert setting(folder)["failed"] == 0


def test_shards_may_be_extended(tmp_path: Path, own: Path, settings: Settings, session: Session) -> None:
    folder = tmp_path / "run"
    away = (own.parent / "v2.mp4").rename(tmp_path / "v2.mp4")
    part = replace(settings, shard=Shard(1, 2))
    assert run(folder, own, part, session, limit=6) == ids(0, 1)
    assert run(folder, own, replace(part, frames=(8,)), session, limit=6) == ids(0, 1, frames=8)
    away.rename(own.parent / "v2.mp4")
    assert sorted(run(folder, own, part, session, limit=8)) == sorted(ids(4, 5) + ids(4, 5, frames=8))
    assert len(run(folder, own, replace(part, samples=2), session)) == 8
    assert len(run(folder, own, replace(part, shard=Shard(2, 2)), session)) == 16
    assert setting(folder)["unanswered"] == 0


def test_the_videos_that_are_there_do_not_decide_the_shards(
    tmp_path: Path, own: Path, settings: Settings, session: Session
) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (own.parent / "v0.mp4").rename(elsewhere / "v0.mp4")
    asked = run(folder, own, replace(settings, shard=Shard(1, 2)), session)
    (elsewhere / "v0.mp4").rename(own.parent / "v0.mp4")
    asked += run(folder, own, replace(settings, shard=Shard(2, 2)), session)
    assert asked == ids(4, 5, 2, 3, 6, 7)


def test_another_layout_of_shards_asks_only_what_no_other_file_has(
    tmp_path: Path, own: Path, settings: Settings, session: Session
) -> None:
    folder, video = tmp_path / "run", own.parent / "v0.mp4"
    good = video.read_bytes()
    video.write_bytes(b"no video")
    run(folder, own, replace(settings, shard=Shard(1, 2)), session)
    assert run(folder, own, settings, session) == ids(2, 3, 6, 7)
    assert run(folder, own, replace(settings, shard=Shard(3, 3)), session) == []
    assert not (folder / "answers-3-of-3.jsonl").exists()
    video.write_bytes(good)
    assert setting(folder)["failed"] == 2
    assert run(folder, own, replace(settings, retry_failed=True), session) == ids(0, 1)
    assert setting(folder)["failed"] == 0
