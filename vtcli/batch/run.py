"""The only runner over (video, question) items: resumes a run, asks the questions and records the answers.

    with Batch(items, session, Path("answers.jsonl")) as batch:
        for record in batch:
            print(record["id"], record["answer"])

Each record is in the file before it is yielded. An item that cannot be answered costs only that item: its record has an
`error`. A failure that would affect every item ends the run instead, and the items it hit are left to the next run.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

from vtcli.ask import Plan, Spent, check_frames
from vtcli.batch.items import Item, Shard, check_ids, digest, in_turn, settings_by_id, share, video_name
from vtcli.batch.output import Output
from vtcli.batch.reading import Read, ReadAhead
from vtcli.errors import EngineError, ModelError, VtError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.fingerprint import fingerprint
from vtcli.record import failed_record
from vtcli.session import Session
from vtcli.trace.text import dump_json
from vtcli.video.reader import choose_reader
from vtcli.video.text import shown

IN_A_ROW = 3
"""After failures of the engine on this many videos and no answer in between, the run itself counts as the cause."""


class Batch:
    """A run of `items` with one model into one file. Iterating over it answers the remaining items, once.

    Items that the file already holds count as done, including those with errors unless `retry_failed`. `shard` leaves
    the items of other shards to other runs with files of their own. `readers`: number of processes that read ahead,
    None for a number that suits the machine. Raises VtError where another run holds the file, or where the file has
    answers of other items, of another model or with other settings; UsageError where items share an id, or request
    frames that no video can have.
    """

    def __init__(
        self,
        items: Sequence[Item],
        session: Session,
        output: Path,
        *,
        shard: Shard | None = None,
        retry_failed: bool = False,
        readers: int | None = None,
    ) -> None:
        check_items(items, session.checkpoint)
        self._session = session
        self._reads: ReadAhead | None = None
        self._readers = readers
        of = session.checkpoint
        self._settings = settings_by_id(items, fingerprint(of)[:16], session.engine.name, of.prompt)
        self._shard = _Place(shard, items, self._settings) if shard else None
        self._items = share(items, shard)
        self.warnings: list[str] = []
        self.total = len(self._items)
        self._output = Output(output)
        try:
            self._check(output, retry_failed)
            self.retried = self._output.drop_failed() if retry_failed else 0
        except BaseException:
            self._output.close()
            raise
        self.resumed = len(self._output.lines)
        """Items that were done when the run began."""

    @property
    def done(self) -> int:
        """Items that have a line."""
        return len(self._output.lines)

    @property
    def failed(self) -> int:
        """Items whose line holds an error."""
        return sum(line.failed for line in self._output.lines.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        left = in_turn([item for item in self._items if item.id not in self._output.lines])
        if left:
            self._session.start()
            self._reads = ReadAhead(left, self._session.checkpoint, self._session.tokenizer, self._readers)
            for record in _hold_back(self._answers(self._reads)):
                self._output.append(record)
                yield record
        if warning := self._output.put_in_order(item.id for item in self._items):
            self.warnings.append(warning)

    def close(self) -> None:
        """Stops reading; the file is complete as far as the run went, and unlocked for the next run."""
        if self._reads is not None:
            self._reads.close()
        self._output.close()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _answers(self, reads: ReadAhead) -> Iterator[tuple[dict[str, Any], Exception | None]]:
        """Yields each item's record, and the engine's error where that is the reason for a missing answer."""
        begin = perf_counter()
        for read in reads:
            seconds = read.seconds
            for item in read.clip.items:
                load = self._session.wait()
                yield self._answer(item, read, Spent(load, seconds, begin))
                begin, seconds = perf_counter(), 0.0

    def _answer(self, item: Item, read: Read, spent: Spent) -> tuple[dict[str, Any], Exception | None]:
        plan, broken = read.plan, None
        try:
            item.question.wording()
            if read.error is not None:
                raise read.error
            assert plan is not None and read.frames is not None
            if item.question is not plan.question:
                plan = plan.asking(item.question)
            self._session.check_fit(plan)
            try:
                record = self._session.answer(plan, read.frames, spent)
            except Exception as error:
                broken = error
                raise
        except ModelError:
            raise
        except Exception as error:
            record = self._failure(item, plan, error)
            _release(error)
        return self._line(item, record), broken

    def _failure(self, item: Item, plan: Plan | None, error: Exception) -> dict[str, Any]:
        session, info = self._session, plan.info if plan else None
        return failed_record(item.question, video_name(item), info, session.checkpoint, session.engine, error)

    def _line(self, item: Item, record: Mapping[str, Any]) -> dict[str, Any]:
        line = {"schema": record["schema"], "id": item.id, **record, "settings": self._settings[item.id]}
        if item.extra:
            line["extra"] = dict(item.extra)
        if self._shard:
            line["shard"] = self._shard.of(item)
        return line

    def _check(self, path: Path, retry_failed: bool) -> None:
        """Raises VtError unless every line of the file belongs to this run; what is asked again may differ."""
        items = {item.id: item for item in self._items}
        renewed: dict[str, dict[str, Any]] = {}
        for number, record in self._output.read():
            item = items.get(record["id"])
            where = f"{shown(path)}, line {number}"
            if _part(record) != (self._shard.part if self._shard else {}):
                raise VtError(f"{where} is of another shard or of other items: give each shard an --output of its own")
            if item is None:
                raise VtError(
                    f"{where}: the id {_short(record['id'])} is not among the {len(items)} items asked about now; "
                    "give another --output, or all the videos and questions of before"
                )
            if retry_failed and record.get("error") is not None:
                continue
            if different := _difference(record, item, self._settings[item.id]):
                raise VtError(f"{where} is of another run: {different}; give another --output")
            extra = json.loads(dump_json(dict(item.extra)))
            if record.get("extra", {}) != extra:
                renewed[item.id] = {key: record[key] for key in record if key != "extra"}
                renewed[item.id] |= {"extra": extra} if extra else {}
        if renewed:  # columns that the model does not see
            self._output.update(renewed)


def check_items(items: Sequence[Item], checkpoint: Checkpoint) -> None:
    """Checks what can be checked before anything is read or written.

    Raises UsageError where items share an id, or request frames that no video can have; VtError where their reader is
    not installed, which would fail every item.
    """
    check_ids(items)
    for reader in sorted({item.question.reader for item in items}):
        choose_reader(reader)
    for item in items:
        check_frames(item.question, checkpoint)


class _Place:
    """The positions of a shard's items among all items, for merging the shards."""

    def __init__(self, shard: Shard, items: Sequence[Item], settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._numbers = {item.id: number for number, item in enumerate(items)}
        everything = digest([(item.id, settings[item.id]) for item in items])
        self.part = {"index": shard.index, "count": shard.count, "items": len(items), "list": everything}

    def of(self, item: Item) -> dict[str, Any]:
        return {**self.part, "item": self._numbers[item.id]}


def _part(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the shard that a line names, without the number of its item; {} for none."""
    place = record.get("shard")
    return {key: place[key] for key in place if key != "item"} if isinstance(place, dict) else {}


def _hold_back(answers: Iterable[tuple[dict[str, Any], Exception | None]]) -> Iterator[dict[str, Any]]:
    """Yields records as they come, but holds back those the engine failed on until it has answered another item.

    Raises EngineError where the engine fails on questions about `IN_A_ROW` videos without answering one; they are left
    to the next run. All questions about a single video may well need more memory than there is.
    """
    held: list[dict[str, Any]] = []
    for record, broken in answers:
        if broken is not None:
            held.append(record)
            if len({each["video"]["path"] for each in held}) == IN_A_ROW:
                raise EngineError(f"the engine failed on {IN_A_ROW} videos in a row: {_told(broken)}") from broken
            continue
        if record["error"] is None:
            yield from held
            held.clear()
        yield record
    yield from held


def _release(error: BaseException) -> None:
    """Drops what the failed calls still hold, such as a clip's activations, before the next clip is computed."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, VtError) else f"{type(error).__name__}: {error}"


def _difference(record: Mapping[str, Any], item: Item, settings: Mapping[str, Any]) -> str:
    """Describes how a line differs from its item; "" if it does not."""
    asked, there = item.question, record.get("settings")
    if not isinstance(there, dict):
        return "it does not say with which settings"
    video = record.get("video")
    content = (
        ("question", record.get("question"), asked.question),
        ("choices", record.get("choices"), list(asked.choices) or None),
        ("video", video.get("path") if isinstance(video, dict) else None, video_name(item)),
    )
    for name, old, new in (*content, *((key, there.get(key), value) for key, value in settings.items())):
        if old != new:
            if name == "weights":
                return "its model has other weights"
            return f"{name.replace('_', ' ')} {_short(old)}, here {_short(new)}"
    return ""


def _short(value: object) -> str:
    text = shown(str(value))
    return text if len(text) <= 60 else f"{text[:60]}…"
