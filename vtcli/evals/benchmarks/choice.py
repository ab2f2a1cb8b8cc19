"""Loaders of the multiple-choice benchmarks, each from its official files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from vtcli.errors import DataError
from vtcli.evals.benchmarks.tasks import Row, Task, json_value, records
from vtcli.scoring.gold import Gold
from vtcli.video.text import shown

COGNITION = " Cognition"

_INLINE = re.compile(r"\s*\n?\(([A-Z])\)\s*")
_LABELLED_LINE = re.compile(r"[A-Z][.)]\s*\S")


def video_holmes(path: Path) -> Iterator[Task]:
    """test_Video-Holmes.json: one record per question, options A to F."""
    for row in records(path):
        video = row.text("video ID")
        yield Task(
            id=f"{video}/{row.text('Question ID')}",
            video=video,
            question=row.text("Question"),
            gold=row.gold(row.text("Answer"), _labelled(row, "Options"), "letter"),
            categories=(row.text("Question Type"),),
        )


def cg_bench(path: Path, cognition: bool = False, grounding: bool = False) -> Iterator[Task]:
    """cgbench.json, cgbench_mini.json: choices without letters. `cognition` keeps its five "… Cognition" categories."""
    for row in records(path):
        category = row.text("sub_category")
        if cognition and not category.endswith(COGNITION):
            continue
        gold = row.gold(row.text("right_answer"), row.texts("choices"), "letter")
        if gold.text.strip() != row.text("answer").strip():
            raise row.fail("'right_answer' and 'answer' name different choices")
        times = row.spans("clue_intervals") if grounding else ()
        yield Task(row.text("qid"), row.text("video_uid"), row.text("question"), gold, (category,), times=times)


def vrbench(path: Path) -> Iterator[Task]:
    """VRBench_eval.jsonl: one record per video, with its questions under "mcq"."""
    for row in records(path):
        questions = row.get("mcq")
        if not isinstance(questions, Mapping):
            raise row.fail("the field 'mcq' is no record")
        for name, asked in zip(questions, row.rows("mcq"), strict=True):
            yield Task(
                id=f"{row.text('video_id')}_{name}",
                video=row.text("video_path"),
                question=asked.text("question"),
                gold=asked.gold(asked.text("answer"), _labelled(asked, "options"), "letter"),
                categories=(asked.text("reasoning_type"),),
                context=str(row.data.get("video_summary", "")),
            )


def lvbench(path: Path) -> Iterator[Task]:
    """video_info.meta.jsonl: the question holds its options, one "(A) …" per line, and counts in each of its types."""
    for row in records(path):
        for asked in row.rows("qa"):
            question, options = split_options(asked)
            yield Task(
                id=asked.text("uid"),
                video=row.text("key"),
                question=question,
                gold=asked.gold(asked.text("answer"), options, "letter"),
                categories=tuple(asked.texts("question_type")),
            )


def split_options(row: Row) -> tuple[str, list[str]]:
    """Splits a question from the options that it holds as "(A) …", labelled in order."""
    text = row.text("question")
    parts = _INLINE.split(text)
    letters = "".join(parts[1::2])
    if len(letters) < 2 or letters != "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(letters)]:
        raise row.fail("the question holds no options (A), (B) …")
    return parts[0].strip(), [part.strip() for part in parts[2::2]]


def scalelong(path: Path) -> Iterator[Task]:
    """questions_converted.jsonl: {video: [{data_id, question, question_type, options, answer}]} per line.

    Files in Video-R1's schema, which Video-Thinker's questions have, are accepted too.
    """
    rows = records(path)
    if rows and "problem" in rows[0].data:
        yield from video_r1_rows(rows)
        return
    for row in rows:
        for video in row.data:
            for asked in row.rows(video):
                yield Task(
                    id=f"{video}/{asked.text('data_id')}",
                    video=str(video),
                    question=asked.text("question"),
                    gold=asked.gold(asked.text("answer"), _labelled(asked, "options"), "letter"),
                    categories=(asked.text("question_type"),),
                )


def star(path: Path) -> Iterator[Task]:
    """STAR_val.json: the answer is a text, the clip is "start" to "end" of a Charades video; four question types."""
    for row in records(path):
        options = [choice.text("choice") for choice in row.rows("choices")]
        start, end = row.segment(row.number("start"), row.number("end"))
        yield Task(
            id=row.text("question_id"),
            video=row.text("video_id"),
            question=row.text("question"),
            gold=row.gold(row.text("answer"), options, "text"),
            categories=(row.text("question_id").split("_")[0],),
            start=start,
            end=end,
        )


def mvbench(path: Path) -> Iterator[Task]:
    """json/*.json: one file per task, with 200 records each.

    The single list that other repositories ship is accepted too: 200 records per task, in the tasks' order.
    """
    if path.is_file():
        yield from _mvbench_list(path)
        return
    files = sorted(path.glob("*.json"))
    if not files:
        raise DataError(f"{shown(path)} holds no JSON file: give the folder json/ of MVBench, a file a task")
    for file in files:
        for number, row in enumerate(records(file)):
            start, end = row.part()
            yield Task(
                id=f"{file.stem}/{number}",
                video=row.text("video"),
                question=row.text("question"),
                gold=row.gold(row.text("answer"), row.texts("candidates"), "text"),
                categories=(file.stem,),
                start=start,
                end=end,
                rate=row.optional("fps"),
            )


MVBENCH_TASKS = (
    "action_antonym", "action_count", "action_localization", "action_prediction", "action_sequence",
    "character_order", "counterfactual_inference", "egocentric_navigation", "episodic_reasoning",
    "fine_grained_action", "fine_grained_pose", "moving_attribute", "moving_count", "moving_direction",
    "object_existence", "object_interaction", "object_shuffle", "scene_transition", "state_change",
    "unexpected_action",
)  # fmt: skip


def _mvbench_list(path: Path) -> Iterator[Task]:
    rows = records(path)
    if len(rows) != 200 * len(MVBENCH_TASKS):
        raise DataError(f"{shown(path)} has {len(rows)} records: MVBench has 4000, 200 a task")
    for number, row in enumerate(rows):
        task = MVBENCH_TASKS[number // 200]
        start, end = row.part()
        yield Task(
            id=f"{task}/{number % 200}",
            video=row.text("video"),
            question=row.text("problem"),
            gold=row.gold(row.text("solution"), row.texts("options"), "letter"),
            categories=(task,),
            start=start,
            end=end,
            rate=row.optional("fps"),
        )


def video_mme(path: Path) -> Iterator[Task]:
    """One record per question, as on the hub, or one per video with its "questions", as the authors publish them."""
    for row in records(path):
        nested = "questions" in row.data
        length, domain = ("duration_category", "video_category") if nested else ("duration", "domain")
        for asked in row.rows("questions") if nested else [row]:
            yield Task(
                id=asked.text("question_id"),
                video=row.text("videoID" if "videoID" in row.data else "video_id"),
                question=asked.text("question"),
                gold=asked.gold(asked.text("answer"), asked.texts("choices" if nested else "options"), "letter"),
                categories=(row.text(length), row.text(domain), asked.text("task_type")),
            )


_VIDEO_MMMU = ("perception_video.json", "comprehension_video.json", "adaptation_video.json")
_VIDEO_MMMU_HUB = tuple(
    f"{track}/test-00000-of-00001.parquet" for track in ("Perception", "Comprehension", "Adaptation")
)


def video_mmmu(path: Path) -> Iterator[Task]:
    """data/{perception,comprehension,adaptation}_video.json, or the hub's folders of the three tracks.

    The tracks ask about the same videos, with the same ids. Some questions of Adaptation have no options.
    """
    for file in _video_mmmu_files(path):
        for track, row in _video_mmmu_rows(file):
            options = [] if row.get("options") is None else row.texts("options")
            id = row.text("id")
            yield Task(
                id=f"{track}/{id}",
                video=id,
                question=row.text("question"),
                gold=row.gold(row.text("answer"), options, "letter" if options else "text"),
                categories=(track, "_".join(id.split("_")[1:-1]) or "none"),
                context=track,
            )


def _video_mmmu_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    path = path / "data" if (path / "data").is_dir() else path
    files = [path / name for name in _VIDEO_MMMU if (path / name).exists()]
    files = files or [path / name for name in _VIDEO_MMMU_HUB if (path / name).exists()]
    if not files:
        raise DataError(
            f"{shown(path)} holds neither {', '.join(_VIDEO_MMMU)} nor the hub's folders of the tracks: give the "
            "annotations of Video-MMMU"
        )
    return files


def _video_mmmu_rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Yields a file's questions with their track, from {track: {number: question}} or the name of the hub's folder."""
    if file.suffix != ".json":
        yield from ((file.parent.name, row) for row in records(file))
        return
    tracks = json_value(file)
    if not isinstance(tracks, Mapping):
        raise DataError(f"{shown(file)} is no record of a track's questions: these are other annotations")
    for track in tracks:
        yield from ((str(track), row) for row in Row(tracks, shown(file)).rows(track))


def mmvu(path: Path) -> Iterator[Task]:
    """The official validation.json: choices A to E, some questions open.

    The 625 multiple-choice questions in Video-R1's schema are accepted too.
    """
    rows = records(path)
    if rows and "solution" in rows[0].data:
        for task in video_r1_rows(rows):
            subject = PurePosixPath(task.video).parent.name
            yield Task(task.id, task.video, task.question, task.gold, (subject,) if subject else ())
        return
    for row in rows:
        choices = _labelled(row, "choices") if row.text("question_type") == "multiple-choice" else {}
        video = row.text("video_path") if "video_path" in row.data else row.text("video")
        metadata = row.data.get("metadata")
        told = metadata.get("subject") if isinstance(metadata, Mapping) else None
        subject = told if isinstance(told, str) else PurePosixPath(video).parent.name
        yield Task(
            id=str(row.data.get("id") or row.where.rpartition(" ")[2]),
            video=video,
            question=row.text("question"),
            gold=row.gold(row.text("answer"), choices, "letter" if choices else "text"),
            categories=(subject,) if subject else (),
        )


def tempcompass(path: Path) -> Iterator[Task]:
    """questions/{multi-choice,yes_no,caption_matching}.json: {video: {dimension: [{question, answer}]}}."""
    folder = path / "questions" if (path / "questions").is_dir() else path
    for file in [folder / f"{name}.json" for name in _TEMPCOMPASS] if path.is_dir() else [path]:
        value = json_value(file)
        if not isinstance(value, Mapping):
            raise DataError(f"{shown(file)} is no record of videos: these are other annotations")
        for video, dimensions in value.items():
            for dimension in dimensions if isinstance(dimensions, Mapping) else ():
                for number, row in enumerate(Row(dimensions, f"{shown(file)}, video {shown(video)}").rows(dimension)):
                    question, gold = _tempcompass(row)
                    id = f"{file.stem}/{video}/{dimension}/{number}"
                    yield Task(id, str(video), question, gold, (file.stem, f"{file.stem}: {dimension}"))


_TEMPCOMPASS = ("multi-choice", "yes_no", "caption_matching")


def _tempcompass(row: Row) -> tuple[str, Gold]:
    """Returns the question, without its options if these have letters, and the gold answer."""
    question, *lines = row.text("question").split("\n")
    answer = row.text("answer")
    if lines and all(_LABELLED_LINE.match(line) for line in lines):
        return question, row.gold(answer, lines)
    return row.text("question"), row.gold(answer, form="text")


_NEXT_QA = {"C": "causal", "T": "temporal", "D": "descriptive"}


def next_qa(path: Path) -> Iterator[Task]:
    """val.csv, test.csv of NExT-QA and IntentQA (the answer is an index) and of NExT-GQA (the answer is a text).

    Categories are those of the official script: TP counts as TN, and the three groups are categories too.
    """
    for row in records(path):
        options = [row.text(f"a{number}") for number in range(5)]
        grounded = "video_id" in row.data
        video = row.text("video_id" if grounded else "video")
        question, answer = row.text("question"), row.text("answer")
        if grounded and options.count(answer) > 1:  # in one question of the test set two options are the same
            answer, grounded = str(options.index(answer)), False
        kind = row.text("type").replace("TP", "TN")
        yield Task(
            id=f"{video}_{row.text('qid')}",
            video=video,
            question=question,
            gold=row.gold(answer, options, "text" if grounded else "index"),
            categories=tuple(filter(None, (kind, _NEXT_QA.get(kind[:1])))),
        )


def video_r1(path: Path) -> Iterator[Task]:
    """The schema of Video-R1 and Video-Thinker-10K: problem, options, solution, path."""
    return video_r1_rows(records(path))


def video_r1_rows(rows: list[Row]) -> Iterator[Task]:
    for number, row in enumerate(rows):
        options = row.texts("options") if row.data.get("options") else []
        several = bool(options) and "," in row.text("solution")
        source = row.data.get("data_source")
        yield Task(
            id=str(row.data.get("problem_id", number + 1)),
            video=row.text("path" if "path" in row.data else "video"),
            question=row.text("problem"),
            gold=row.gold(row.text("solution"), options, "letter" if options else "any", several),
            categories=(source,) if isinstance(source, str) and not source.startswith("http") else (),
        )


def own(path: Path) -> Iterator[Task]:
    """The user's own questions as JSON lines.

    Fields: id, video, question, answer; optional: options, category, times, start, end.
    """
    for row in records(path):
        options = row.data.get("options") or ()
        if not isinstance(options, list | tuple | Mapping):
            raise row.fail("the field 'options' is no list of texts")
        answer, category = row.get("answer"), row.data.get("category")
        categories = category if isinstance(category, list) else [] if category is None else [category]
        start, end = row.part()
        yield Task(
            id=row.text("id"),
            video=row.text("video"),
            question=row.text("question"),
            gold=row.gold(answer, options, several=isinstance(answer, list)),
            categories=tuple(map(str, categories)),
            start=start,
            end=end,
            times=row.spans("times") if row.data.get("times") else (),
        )


def _labelled(row: Row, name: str) -> dict[str, str]:
    """Returns the options as {"A": text, …}, in the order of their letters, without empty ones."""
    value = row.get(name)
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise row.fail(f"the field '{name}' is no record of options by letter")
    return {letter: value[letter] for letter in sorted(value) if value[letter].strip()}
