"""Loaders of the multiple-choice benchmarks, each from its official files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from vtcli.errors import DataError
from vtcli.evals.benchmarks.tasks import Row, Task, csv_rows, json_rows, json_value
from vtcli.scoring.gold import Gold
from vtcli.video.text import shown

COGNITION = " Cognition"

_INLINE = re.compile(r"\s*\n?\(([A-Z])\)\s*")
_LABELLED_LINE = re.compile(r"[A-Z][.)]\s*\S")


def video_holmes(path: Path) -> Iterator[Task]:
    """test_Video-Holmes.json: one record a question, options A to F."""
    for row in json_rows(path):
        video = row.text("video ID")
        yield Task(
            id=f"{video}/{row.text('Question ID')}",
            video=video,
            question=row.text("Question"),
            gold=row.gold(row.text("Answer"), _labelled(row, "Options"), "letter"),
            categories=(row.text("Question Type"),),
        )


def cg_bench(path: Path, cognition: bool = False, grounding: bool = False) -> Iterator[Task]:
    """cgbench.json, cgbench_mini.json: choices without letters. `cognition`: only its five "… Cognition" categories."""
    for row in json_rows(path):
        category = row.text("sub_category")
        if cognition and not category.endswith(COGNITION):
            continue
        gold = row.gold(row.text("right_answer"), row.texts("choices"), "letter")
        if gold.text.strip() != row.text("answer").strip():
            raise row.fail("'right_answer' and 'answer' name different choices")
        times = row.spans("clue_intervals") if grounding else ()
        yield Task(row.text("qid"), row.text("video_uid"), row.text("question"), gold, (category,), times=times)


def vrbench(path: Path) -> Iterator[Task]:
    """VRBench_eval.jsonl: one record a video, its questions under "mcq"."""
    for row in json_rows(path):
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
    """video_info.meta.jsonl: options inside the question, "(A) …" a line; a question counts in each of its types."""
    for row in json_rows(path):
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
    """A question and the options that stand in it as "(A) …", labelled in order."""
    text = row.text("question")
    parts = _INLINE.split(text)
    letters = "".join(parts[1::2])
    if len(letters) < 2 or letters != "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(letters)]:
        raise row.fail("the question holds no options (A), (B) …")
    return parts[0].strip(), [part.strip() for part in parts[2::2]]


def star(path: Path) -> Iterator[Task]:
    """STAR_val.json: the answer as text; the clip from "start" to "end" of a Charades video; four types."""
    for row in json_rows(path):
        options = [choice.text("choice") for choice in row.rows("choices")]
        yield Task(
            id=row.text("question_id"),
            video=row.text("video_id"),
            question=row.text("question"),
            gold=row.gold(row.text("answer"), options, "text"),
            categories=(row.text("question_id").split("_")[0],),
            start=row.number("start"),
            end=row.number("end"),
        )


def mvbench(path: Path) -> Iterator[Task]:
    """json/*.json, a file a task with 200 records; or the one list other repositories ship, 200 a task in its order."""
    if path.is_file():
        yield from _mvbench_list(path)
        return
    files = sorted(path.glob("*.json"))
    if not files:
        raise DataError(f"{shown(path)} holds no JSON file: give the folder json/ of MVBench, a file a task")
    for file in files:
        for number, row in enumerate(json_rows(file)):
            yield Task(
                id=f"{file.stem}/{number}",
                video=row.text("video"),
                question=row.text("question"),
                gold=row.gold(row.text("answer"), row.texts("candidates"), "text"),
                categories=(file.stem,),
                start=row.optional("start"),
                end=row.optional("end"),
            )


MVBENCH_TASKS = (
    "action_antonym", "action_count", "action_localization", "action_prediction", "action_sequence",
    "character_order", "counterfactual_inference", "egocentric_navigation", "episodic_reasoning",
    "fine_grained_action", "fine_grained_pose", "moving_attribute", "moving_count", "moving_direction",
    "object_existence", "object_interaction", "object_shuffle", "scene_transition", "state_change",
    "unexpected_action",
)  # fmt: skip


def _mvbench_list(path: Path) -> Iterator[Task]:
    rows = json_rows(path)
    if len(rows) != 200 * len(MVBENCH_TASKS):
        raise DataError(f"{shown(path)} has {len(rows)} records: MVBench has 4000, 200 a task")
    for number, row in enumerate(rows):
        task = MVBENCH_TASKS[number // 200]
        yield Task(
            id=f"{task}/{number % 200}",
            video=row.text("video"),
            question=row.text("problem"),
            gold=row.gold(row.text("solution"), row.texts("options"), "letter"),
            categories=(task,),
            start=row.optional("start"),
            end=row.optional("end"),
        )


def video_mme(path: Path) -> Iterator[Task]:
    """One record a question, or the official result file: one a video, with its "questions"."""
    for row in json_rows(path):
        length, nested = row.text("duration"), "questions" in row.data
        for asked in row.rows("questions") if nested else [row]:
            name = row.data.get("videoID") or row.data.get("video") or row.text("video_id")
            yield Task(
                id=asked.text("question_id"),
                video=str(name),
                question=asked.text("question"),
                gold=asked.gold(asked.text("answer"), asked.texts("options"), "letter"),
                categories=(length, asked.text("task_type")),
            )


def video_mmmu(path: Path) -> Iterator[Task]:
    """One JSON file a configuration (Perception, Comprehension, Adaptation); open questions have no options."""
    for file in sorted(path.glob("*.json*")) if path.is_dir() else [path]:
        for row in json_rows(file):
            options = row.texts("options") if row.data.get("options") else []
            yield Task(
                id=row.text("id"),
                video=row.text("id"),
                question=row.text("question"),
                gold=row.gold(row.text("answer"), options, "letter" if options else "text"),
                categories=(file.stem, row.text("question_type")),
            )


def mmvu(path: Path) -> Iterator[Task]:
    """The official validation.json (choices A to E, some open), or the 625 multiple-choice questions as Video-R1 has
    them."""
    rows = json_rows(path)
    if rows and "solution" in rows[0].data:
        for task in video_r1_rows(rows):
            subject = PurePosixPath(task.video).parent.name
            yield Task(task.id, task.video, task.question, task.gold, (subject,) if subject else ())
        return
    for row in rows:
        choices = _labelled(row, "choices") if row.text("question_type") == "multiple-choice" else {}
        video = row.text("video_path") if "video_path" in row.data else row.text("video")
        subject = PurePosixPath(video).parent.name
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
    """The question without its options where they are lettered, and the truth."""
    question, *lines = row.text("question").split("\n")
    answer = row.text("answer")
    if lines and all(_LABELLED_LINE.match(line) for line in lines):
        return question, row.gold(answer, lines)
    return row.text("question"), row.gold(answer, form="text")


def next_qa(path: Path) -> Iterator[Task]:
    """val.csv, test.csv of NExT-QA and IntentQA (the answer is an index) and of NExT-GQA (its text)."""
    for row in csv_rows(path):
        options = [row.text(f"a{number}") for number in range(5)]
        grounded = "video_id" in row.data
        video = row.text("video_id" if grounded else "video")
        question, answer = row.text("question"), row.text("answer")
        if grounded and options.count(answer) > 1:  # in one question of the test set two options are the same
            answer, grounded = str(options.index(answer)), False
        yield Task(
            id=f"{video}_{row.text('qid')}",
            video=video,
            question=question,
            gold=row.gold(answer, options, "text" if grounded else "index"),
            categories=(row.text("type"),),
        )


def video_r1(path: Path) -> Iterator[Task]:
    """The schema of Video-R1 and Video-Thinker-10K: problem, options, solution, path."""
    return video_r1_rows(json_rows(path))


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
    """One's own questions, JSON lines: id, video, question, answer; options, category, times, start, end."""
    for row in json_rows(path):
        options = row.data.get("options") or ()
        if not isinstance(options, list | tuple | Mapping):
            raise row.fail("the field 'options' is no list of texts")
        answer, category = row.get("answer"), row.data.get("category")
        categories = category if isinstance(category, list) else [] if category is None else [category]
        yield Task(
            id=row.text("id"),
            video=row.text("video"),
            question=row.text("question"),
            gold=row.gold(answer, options, several=isinstance(answer, list)),
            categories=tuple(map(str, categories)),
            start=row.optional("start"),
            end=row.optional("end"),
            times=row.spans("times") if row.data.get("times") else (),
        )


def _labelled(row: Row, name: str) -> dict[str, str]:
    """Options as {"A": text, …}, in the order of their letters; those without text are none."""
    value = row.get(name)
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise row.fail(f"the field '{name}' is no record of options by letter")
    return {letter: value[letter] for letter in sorted(value) if value[letter].strip()}
