"""The runner: every item once, in order, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.batch.conftest import Make
from vtcli.ask import Plan, make_plan
from vtcli.batch.items import Item, Shard
from vtcli.batch.merge import merge
from vtcli.batch.run import IN_A_ROW, Batch
from vtcli.engines.base import Request, SamplingOptions
from vtcli.errors import EngineError, UsageError, VtError
from vtcli.memory import memory_by_part
from vtcli.session import Session
from vtcli.video.source import resolve

pytest.importorskip("torch")


def run(items: list[Item], session: Session, output: Path, **options: Any) -> list[dict[str, Any]]:
    with Batch(items, session, output, **options) as batch:
        return list(batch)


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["id"] for record in records]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_lines_are_in_the_order_of_the_items_and_a_video_is_read_and_encoded_once(
    make: Make, session: Session, output: Path
) -> None:
    items = make(questions=3)
    answered = run(items, session, output)
    assert ids(answered)[:3] == ["a0", "a1", "a2"]  # in a row, though the items are not
    for record in answered:
        first = record["id"].endswith("0")
        assert (record["timing"]["read"] > 0) == first
        assert (record["usage"]["cached_tokens"] > 0) == (not first)
    assert ids(lines(output)) == [item.id for item in items]
    assert sorted(ids(answered)) == sorted(item.id for item in items)


def test_answers_are_those_of_asking_one_by_one(make: Make, session: Session, output: Path, clips: list[Path]) -> None:
    from vtcli.ask import ask

    items = make(questions=2, videos=clips[:1], sampling=SamplingOptions(max_tokens=12, temperature=0))
    for item, record in zip(items, run(items, session, output), strict=True):
        alone = ask(item.question)
        assert record["text"] == alone["text"] != ""
        assert record["sampling"] == alone["sampling"]
        assert set(record) - set(alone) == {"id", "settings"}


def test_a_run_that_was_left_goes_on_where_it_was(make: Make, session: Session, output: Path) -> None:
    items = make()
    seen: list[str] = []
    for stop in (1, 3, 0, 2, 99):
        with Batch(items, session, output) as batch:
            assert batch.resumed == len(seen)
            for record in batch:
                seen.append(record["id"])
                if len(seen) == batch.resumed + stop:
                    break
    assert sorted(seen) == sorted(set(seen)) == sorted(item.id for item in items)
    assert ids(lines(output)) == [item.id for item in items]


def test_a_run_that_is_done_loads_nothing_and_changes_nothing(make: Make, session: Session, output: Path) -> None:
    items = make(questions=1)
    run(items, session, output)
    before = output.stat()
    fresh = Session(items[0].question)
    assert run(items, fresh, output) == []
    assert fresh.engine.dtype == ""  # not even prepared
    assert (output.stat().st_ino, output.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_more_items_are_added_in_their_places(make: Make, session: Session, output: Path) -> None:
    items = make(questions=3)
    run(items[1::3], session, output)
    assert len(run(items, session, output)) == len(items) - len(items[1::3])
    assert ids(lines(output)) == [item.id for item in items]


def test_a_broken_video_costs_its_own_items(make: Make, session: Session, output: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 5000)
    missing = tmp_path / "missing\x1b]0;x\x07.mp4"
    good = make(questions=1)
    bad = make(videos=[broken, missing], questions=1)
    silent = Item("silent", replace(good[0].question, question=" "))
    items = [good[0], bad[0], silent, good[1], bad[1], good[2]]
    records = {record["id"]: record for record in run(items, session, output)}
    assert [id for id, record in records.items() if record["error"]] != []
    assert {id: record["error"]["type"] for id, record in records.items() if record["error"]} == {
        "broken0": "VideoError",
        bad[1].id: "VideoError",
        "silent": "UsageError",
    }
    assert all(record["answer"] is None for record in records.values() if record["error"])
    assert "\x1b" not in output.read_text(encoding="utf-8")
    assert ids(lines(output)) == [item.id for item in items]

    assert run(items, session, output) == []  # errors count as done
    with Batch(items, session, output, retry_failed=True) as batch:
        assert (batch.retried, batch.resumed) == (3, 3)
        assert len(list(batch)) == 3
        assert (batch.done, batch.failed) == (6, 3)
    assert ids(lines(output)) == [item.id for item in items]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": SamplingOptions(max_tokens=5, temperature=0)}, "max tokens 4, here 5"),
        ({"frames": 8}, "frames 16, here 8"),
        ({"choices": ("yes", "no")}, "choices None, here"),
        ({"start": 1.0}, "start None, here 1.0"),
    ],
)
def test_the_output_of_other_settings_is_refused(
    make: Make, session: Session, output: Path, change: dict[str, Any], said: str
) -> None:
    run(make(questions=1), session, output)
    before = output.read_bytes()
    with pytest.raises(VtError, match=said):
        run(make(questions=1, **change), session, output)
    assert output.read_bytes() == before


def test_the_output_of_another_model_or_of_other_items_is_refused(
    make: Make, session: Session, output: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    items = make(questions=1)
    run(items, session, output)
    before = output.read_bytes()
    other = tmp_path / "other"
    shutil.copytree(random_checkpoint, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 2000.0}))
    with pytest.raises(VtError, match="its model has other weights"):
        run(items, Session(replace(items[0].question, model=other)), output)
    with pytest.raises(VtError, match="the id d0 is not among the 3 items"):
        run(items[:3], session, output)
    changed = [replace(items[0], question=replace(items[0].question, question="where?")), *items[1:]]
    with pytest.raises(VtError, match=r"question what is 0\?, here where\?"):
        run(changed, session, output)
    assert output.read_bytes() == before


def test_two_items_of_one_id_are_refused(make: Make, session: Session, output: Path) -> None:
    items = make(questions=1)
    with pytest.raises(UsageError, match="two items have the id a0"):
        run([*items, items[0]], session, output)
    assert not output.exists()


def test_the_same_output_cannot_be_written_twice_at_once(make: Make, session: Session, output: Path) -> None:
    items = make(questions=1)
    with Batch(items, session, output) as batch:
        next(iter(batch))
        with pytest.raises(VtError, match="is being written by another run"):
            Batch(items, session, output)
    assert len(run(items, session, output)) == len(items) - 1


class Failing:
    """An engine that fails when `fails` says so: what a GPU does that falls off the bus, or runs out of memory."""

    def __init__(self, session: Session, fails: Iterator[bool]) -> None:
        self._session, self._inner, self._fails = session, session.engine, fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stream(self, request: Request) -> Iterator[str]:
        if next(self._fails):
            raise EngineError("the device is gone")
        yield from self._inner.stream(request)

    def __enter__(self) -> None:
        self._session.engine = self

    def __exit__(self, *_: object) -> None:
        self._session.engine = self._inner


def test_an_engine_that_fails_once_costs_one_item(make: Make, session: Session, output: Path) -> None:
    items = make(questions=1)
    with Failing(session, iter([False, True, False, False])):
        records = run(items, session, output)
    assert {r["id"]: r["error"]["message"] for r in records if r["error"]} == {"b0": "the device is gone"}
    assert ids(lines(output)) == ["a0", "b0", "c0", "d0"]


def test_an_engine_that_is_gone_ends_the_run_and_costs_nothing(make: Make, session: Session, output: Path) -> None:
    items = make(questions=2)
    with (
        Failing(session, iter([False] + [True] * 99)),
        pytest.raises(EngineError, match=f"failed on {IN_A_ROW} videos in a row: the device is gone"),
    ):
        run(items, session, output)
    assert ids(lines(output)) == ["a0"]
    assert len(run(items, session, output)) == len(items) - 1
    assert not any(record["error"] for record in lines(output))


def test_a_video_on_which_the_engine_fails_costs_its_own_questions(make: Make, session: Session, output: Path) -> None:
    items = make(questions=4)
    with Failing(session, iter([True] * 4 + [False] * 99)):
        records = run(items, session, output)
    assert {record["id"] for record in records if record["error"]} == {"a0", "a1", "a2", "a3"}
    assert ids(lines(output)) == [item.id for item in items]


def test_what_a_failed_question_computed_is_free_before_the_next(make: Make, session: Session, output: Path) -> None:
    held: list[weakref.ref[Any]] = []

    class Greedy(Failing):
        def stream(self, request: Request) -> Iterator[str]:
            assert not any(reference() is not None for reference in held)
            activations = np.zeros(10)
            held.append(weakref.ref(activations))
            try:
                raise MemoryError
            except MemoryError as error:
                raise EngineError("out of memory") from error
            yield ""

    with Greedy(session, iter(())), pytest.raises(EngineError, match="3 videos in a row"):
        run(make(questions=1), session, output)
    assert len(held) == 3


def test_other_columns_may_change(make: Make, session: Session, output: Path) -> None:
    items = make(questions=1)
    first = [replace(item, extra={"gold": "A", "of": (1, 2)}) for item in items]
    run(first, session, output)
    before = lines(output)
    assert run(first, session, output) == [] and lines(output) == before
    assert run([replace(items[0], extra={"gold": "B"}), items[1], *first[2:]], session, output) == []
    after = lines(output)
    assert [line.get("extra") for line in after] == [{"gold": "B"}, None, *[{"gold": "A", "of": [1, 2]}] * 2]
    assert [line["text"] for line in after] == [line["text"] for line in before]


def test_a_question_that_does_not_fit_costs_itself(make: Make, output: Path) -> None:
    small = make(questions=1, frames=2)
    with Session(small[0].question) as session:
        session.engine.prepare()
        plan = _plan_of(make(questions=1)[0], session)
        needed = memory_by_part(session.checkpoint, plan.clip(), 4)["total"]
        session.engine.free_memory = lambda: needed - 1  # type: ignore[method-assign]
        items = [small[0], *make(questions=1)[1:3], small[3]]
        records = run(items, session, output)
    assert [record["error"] and record["error"]["type"] for record in records] == [
        None, "EngineError", "EngineError", None,
    ]  # fmt: skip
    assert "would fit" in records[1]["error"]["message"]


def _plan_of(item: Item, session: Session) -> Plan:
    with resolve(item.question.video) as source:
        return make_plan(item.question, source, session.checkpoint, session.tokenizer)


def test_shards_are_merged_into_what_one_run_writes(make: Make, session: Session, tmp_path: Path) -> None:
    items = make(questions=2)
    parts = [tmp_path / f"{number}.jsonl" for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        run(items, session, part, shard=Shard(number, 3))
    videos = [{record["video"]["path"] for record in lines(part)} for part in parts]
    assert not (videos[0] & videos[1] or videos[1] & videos[2] or videos[0] & videos[2])
    whole = tmp_path / "whole.jsonl"
    with pytest.raises(VtError, match="2 of 8 items are in none of the files, the first is number 2"):
        merge([parts[0], parts[2]], whole)
    with pytest.raises(UsageError, match="named twice"):
        merge([parts[0], parts[0]], whole)
    copied = Path(shutil.copyfile(parts[0], tmp_path / "copied.jsonl"))
    with pytest.raises(VtError, match="is in another of the files too"):
        merge([parts[0], copied], whole)
    assert not whole.exists()
    merged = merge(parts[::-1], whole)
    assert (merged.lines, merged.failed, merged.missing) == (8, 0, 0)
    assert ids(lines(whole)) == [item.id for item in items]
    assert run(items, session, whole) == []  # it is what one run would have written
    with pytest.raises(UsageError, match="exists"):
        merge(parts, whole)

    some = tmp_path / "some.jsonl"
    assert merge([parts[0], parts[2]], some, gaps=True).missing == 2
    assert len(run(items, session, some)) == 2
    assert ids(lines(some)) == ids(lines(whole))


def test_what_does_not_belong_together_is_not_merged(make: Make, session: Session, tmp_path: Path) -> None:
    one, two, plain = (tmp_path / name for name in ("1.jsonl", "2.jsonl", "plain.jsonl"))
    run(make(questions=1), session, one, shard=Shard(1, 2))
    run(make(questions=2), session, two, shard=Shard(2, 2))
    run(make(questions=1), session, plain)
    with pytest.raises(VtError, match="is not of the run that"):
        merge([one, two], tmp_path / "whole.jsonl")
    with pytest.raises(VtError, match="is not of a shard"):
        merge([one, plain], tmp_path / "whole.jsonl")
    with pytest.raises(VtError, match="No such file"):
        merge([one, tmp_path / "nowhere.jsonl"], tmp_path / "whole.jsonl")
    with pytest.raises(VtError, match="of another shard or of other items"):
        run(make(questions=1), session, one, shard=Shard(2, 2))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl") == [
        "1.jsonl", "2.jsonl", "plain.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_is_none_is_refused(text: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="--shard"):
        Shard(*text)
