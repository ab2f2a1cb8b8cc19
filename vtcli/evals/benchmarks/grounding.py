"""Loaders of the temporal grounding and captioning benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vtcli.errors import DataError
from vtcli.evals.benchmarks.choice import next_qa
from vtcli.evals.benchmarks.tasks import Row, Task, json_value, records
from vtcli.scoring.gold import Gold
from vtcli.scoring.spans import Span
from vtcli.video.text import shown

#: The paper prompts for an answer with its segments in `<time>`. Its wording is not published, so this one is ours.
WHEN = 'When does this happen in the video: "{}"? Give its start and end.'
DESCRIBE = "Describe the video segment."


def charades_sta(path: Path) -> Iterator[Task]:
    """charades_sta_test.txt ("VID s e##sentence."), or {video: {duration, timestamps, sentences}}.

    True spans that end after the video are kept as they are: 562 of the 3720 sentences of the JSON form have one, and
    published scripts do not clip them either.
    """
    if path.suffix != ".txt":
        yield from _timestamps(path)
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        where = f"{shown(path)}, line {number}"
        head, mark, sentence = line.partition("##")
        words = head.split()
        if not mark or len(words) != 3:
            raise DataError(f"{where} is not 'VIDEO start end##sentence'")
        row = Row({"times": [words[1:]]}, where)
        try:
            start, end = float(words[1]), float(words[2])
            if not (math.isfinite(start) and math.isfinite(end)):
                raise ValueError
        except ValueError:
            raise row.fail("its times are no numbers") from None
        yield _moment(f"{words[0]}_{number}", words[0], sentence, ((min(start, end), max(start, end)),))


def activitynet_captions(path: Path, captioning: bool = False) -> Iterator[Task]:
    """val_1.json, val_2.json of ActivityNet Captions: find the sentence, or (`captioning`) describe the segment."""
    for task in _timestamps(path):
        (span,) = task.times
        if not captioning:
            yield task
            continue
        (caption,) = task.captions
        start, end = Row({}, f"{shown(path)}, question {shown(task.id)}").segment(*span)
        yield replace(task, question=DESCRIBE, gold=Gold(text=caption), times=(), start=start, end=end)


def youcook2(path: Path, captioning: bool = False) -> Iterator[Task]:
    """youcookii_annotations_trainval.json: {"database": {video: {annotations: [{segment, id, sentence}]}}}."""
    value = json_value(path)
    database = value.get("database") if isinstance(value, Mapping) else None
    if not isinstance(database, Mapping):
        raise DataError(f"{shown(path)}: the field 'database' is missing: these are other annotations")
    for video in database:
        row = next(r for r in Row({"v": {video: database[video]}}, shown(path)).rows("v"))
        if row.text("subset") != "validation":
            continue
        for step in row.rows("annotations"):
            (span,) = Row({"segment": [step.get("segment")]}, step.where).spans("segment")
            sentence = step.text("sentence")
            found = _moment(f"{video}_{step.text('id')}", str(video), sentence, (span,))
            if captioning:
                start, end = step.segment(*span)
                found = replace(found, question=DESCRIBE, gold=Gold(text=sentence), times=(), start=start, end=end)
            yield found


def qvhighlights(path: Path) -> Iterator[Task]:
    """highlight_val_release.jsonl: a query and all its windows."""
    for row in records(path):
        yield _moment(row.text("qid"), row.text("vid"), row.text("query"), row.spans("relevant_windows"))


def tvgbench(path: Path) -> Iterator[Task]:
    """TVGBench: the answer is one range, "13.4-28.1"."""
    for number, row in enumerate(records(path), 1):
        parts = row.text("answer").split("-")
        try:
            start, end = (float(part) for part in parts)
            if not start <= end < math.inf:
                raise ValueError
        except ValueError:
            raise row.fail("the field 'answer' is no range of seconds") from None
        yield _moment(str(row.data.get("qid", number)), row.text("path"), row.text("question"), ((start, end),))


def next_gqa(path: Path) -> Iterator[Task]:
    """Questions, and the spans of the video that show their answers.

    `path`: a folder with test.csv and gsub_test.json, or {test,val}.csv beside its gsub_{test,val}.json.
    """
    folder, split = (path, "test") if path.is_dir() else (path.parent, path.stem)
    grounds = json_value(folder / f"gsub_{split}.json")
    if not isinstance(grounds, Mapping):
        raise DataError(f"{shown(folder)}/gsub_{split}.json is no record of videos")
    for task in next_qa(folder / f"{split}.csv"):
        video, _, number = task.id.rpartition("_")
        row = Row(grounds, f"gsub_{split}.json")
        try:
            times = grounds[video]["location"][number]
        except (KeyError, TypeError):
            raise row.fail(f"the question {shown(task.id)} of {split}.csv has no 'location'") from None
        yield replace(task, times=Row({"location": times}, f"gsub_{split}.json, {shown(task.id)}").spans("location"))


def _timestamps(path: Path) -> Iterator[Task]:
    value = json_value(path)
    if not isinstance(value, Mapping):
        raise DataError(
            f"{shown(path)} is no record of videos: these are other annotations, or another version of them"
        )
    for row, video in zip(Row({"videos": value}, shown(path)).rows("videos"), value, strict=True):
        times, sentences = row.get("timestamps"), row.texts("sentences")
        if not isinstance(times, list) or len(times) != len(sentences):
            raise row.fail("'timestamps' and 'sentences' are not of the same number")
        for number, (pair, sentence) in enumerate(zip(times, sentences, strict=True)):
            ordered = sorted(pair) if isinstance(pair, list) and all(type(n) in (int, float) for n in pair) else pair
            (span,) = Row({"timestamps": [ordered]}, row.where).spans("timestamps")
            yield _moment(f"{video}_{number}", str(video), sentence.strip(), (span,))


def _moment(id: str, video: str, sentence: str, times: tuple[Span, ...]) -> Task:
    """Returns the task to find a sentence in a video; its gold text is the first true span, which `strict` can read."""
    start, end = times[0] if times else (0.0, 0.0)
    gold = Gold(text=f"{start:g}-{end:g}")
    return Task(id, video, WHEN.format(sentence.rstrip(".")), gold, times=times, captions=(sentence,))
