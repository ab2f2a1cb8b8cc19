"""Every loader on a small file of its benchmark's shape, on the real annotations where they are, and on others'."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vtcli.errors import DataError, UsageError
from vtcli.evals.benchmarks.choice import own as own_questions
from vtcli.evals.benchmarks.table import BENCHMARKS, benchmark_named
from vtcli.evals.benchmarks.tasks import Task
from vtcli.scoring.gold import Gold

#: One file of each format, in our own words: name of the benchmark, name of the file, what it holds.
SAMPLES: dict[str, tuple[str, Any]] = {
    "video-holmes": ("test_Video-Holmes.json", [{
        "video ID": "abc", "Question ID": 3, "Question Type": "SR", "Question": "Who?",
        "Options": {"A": "one", "B": "two"}, "Answer": "B", "Explanation": "",
    }]),
    "cg-bench": ("cgbench_mini.json", [{
        "qid": 3, "video_uid": "abc", "question": "Who?", "answer": "two", "choices": ["one", "two"],
        "right_answer": "B", "clue_intervals": [[1, 2.5]], "domain": "x", "sub_category": "Time Cognition",
    }]),
    "vrbench": ("VRBench_eval.jsonl", [{
        "video_id": "v1", "video_path": "VRBench/videos/abc.mp4", "video_summary": "long",
        "mcq": {
            "qa2": {"question": "Who?", "options": {"B": "two", "A": "one"}, "answer": "B", "reasoning_type": "SR"}
        },
    }]),
    "lvbench": ("video_info.meta.jsonl", [{
        "key": "abc", "type": "film", "video_info": {}, "qa": [{
            "uid": "7", "question": "Who?\n(A) one\n(B) two", "answer": "B", "question_type": ["SR", "ER"],
            "time_reference": "00:01-00:02",
        }],
    }]),
    "star": ("STAR_val.json", [{
        "question_id": "SR_T1_3", "question": "Who?", "video_id": "abc", "start": 1, "end": 2.5, "answer": "two",
        "choices": [{"choice_id": 0, "choice": "one"}, {"choice_id": 1, "choice": "two"}],
    }]),
    "mvbench": ("json/SR.json", [{
        "video": "abc.mp4", "question": "Who?", "candidates": ["one", "two"], "answer": "two ",
    }]),
    "video-mme": ("video_mme.json", [{
        "video_id": "001", "duration": "short", "domain": "Life Record", "videoID": "abc", "question_id": "001-1",
        "task_type": "SR", "question": "Who?", "options": ["A. one", "B. two"], "answer": "B",
    }]),
    "video-mmmu": ("data/perception_video.json", {"SR": {"0": {
        "id": "dev_abc_3", "link_selected": "", "question": "Who?", "options": ["one", "two"], "answer": "B",
    }}}),
    "mmvu": ("validation.json", [{
        "id": "validation_0", "video": "https://example.org/videos/x/abc.mp4", "question_type": "multiple-choice",
        "metadata": {"subject": "SR"}, "question": "Who?", "choices": {"A": "one", "B": "two"}, "answer": "B",
    }]),
    "scalelong": ("questions_converted.jsonl", [{"abc": [{
        "data_id": 3, "question": "Who?", "question_type": "SR", "options": {"A": "one", "B": "two"}, "answer": "B",
    }]}]),
    "tempcompass": ("questions/multi-choice.json", {
        "abc": {"SR": [{"question": "Who?\nA. one\nB. two", "answer": "B. two"}]},
    }),
    "activitynet": ("any.json", [{
        "problem_id": 1, "problem": "Who?", "problem_type": "multiple choice", "options": ["A. one", "B. two"],
        "solution": "<answer>B</answer>", "path": "x/abc.mp4", "data_source": "SR",
    }]),
}  # fmt: skip


def put(folder: Path, name: str, value: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(map(json.dumps, value)) if name.endswith("l") else json.dumps(value)
    file.write_text(lines, "utf-8")
    return file


def tasks(name: str, path: Path) -> list[Task]:
    return BENCHMARKS[name].tasks(path)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_question_of_each(tmp_path: Path, name: str) -> None:
    file, value = SAMPLES[name]
    written = put(tmp_path, file, value)
    (task,) = tasks(name, tmp_path if BENCHMARKS[name].files else written)
    assert (task.question, task.gold.letters, task.gold.options) == ("Who?", {"B"}, ("one", "two"))
    assert "abc" in task.video and any("SR" in category or "Time" in category for category in task.categories)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_field_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    file, value = SAMPLES[name]

    def without_question(each: Any) -> Any:
        if isinstance(each, dict):
            gone = ("question", "Question", "problem")
            return {key: without_question(part) for key, part in each.items() if key not in gone}
        return [without_question(part) for part in each] if isinstance(each, list) else each

    written = put(tmp_path, file, without_question(value))
    path = written.parent if name == "mvbench" else written
    with pytest.raises(DataError, match=r"the field '(question|Question|problem)' is missing: these are other anno"):
        tasks(name, path)


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"next-qa", "next-gqa", "tempcompass"}))
@pytest.mark.parametrize("value", [[{"foo": 1}], {"foo": {"bar": 1}}, [1], "text", {"database": {"v": 1}}])
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, value: Any) -> None:
    file = (BENCHMARKS[name].files or ("any.json",))[0]
    file = "json/x.json" if file == "json" else file
    path = put(tmp_path, file.replace(".txt", ".json"), value if not file.endswith("l") else [value])
    with pytest.raises(DataError) as caught:
        tasks(name, path.parent if name == "mvbench" else path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Answer": "C"}, "record 1: the answer 'C' is none of the 2 options"),
        ({"Options": {"A": "one", "C": "two"}}, "labelled"),
        ({"Options": ["one"]}, "the field 'Options' is no record of options"),
        ({"Question": None}, "the field 'Question' is no text"),
    ],
)
def test_broken_records(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    file, ((record),) = SAMPLES["video-holmes"]
    with pytest.raises(DataError, match=says):
        tasks("video-holmes", put(tmp_path, file, [record | change]))


def own(folder: Path, **fields: Any) -> list[Task]:
    record = {"id": "q1", "video": "a.mp4", "question": "Who?", "answer": "two"} | fields
    return list(own_questions(put(folder, "own.jsonl", [record])))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "-inf", 10**400, -1, "1" * 400])
def test_what_is_no_time_is_named(tmp_path: Path, value: object) -> None:
    for field in ("start", "end"):
        with pytest.raises(DataError, match=f"line 1: the field '{field}' is (no number|below 0)"):
            own(tmp_path, **{field: value})


@pytest.mark.parametrize(("start", "end"), [(3, 1), (2, 2), (None, 0)])
def test_a_segment_that_ends_before_it_starts_names_its_question(tmp_path: Path, start: object, end: object) -> None:
    with pytest.raises(DataError, match="line 1: the segment must end after it starts"):
        own(tmp_path, start=start, end=end)
    star = SAMPLES["star"][1][0] | {"start": start or 0, "end": end}
    with pytest.raises(DataError, match="record 1: the segment must end after it starts"):
        tasks("star", put(tmp_path, "star.json", [star]))
    mvbench = SAMPLES["mvbench"][1][0] | {"start": start, "end": end}
    with pytest.raises(DataError, match="record 1: the segment must end after it starts"):
        tasks("mvbench", put(tmp_path, "json/x.json", [mvbench]).parent)


def test_captioning_needs_a_segment_of_some_length(tmp_path: Path) -> None:
    file = put(tmp_path, "val_1.json", {"v": {"duration": 9, "timestamps": [[4, 4]], "sentences": ["A man sits."]}})
    assert tasks("activitynet-captions", file)[0].times == ((4.0, 4.0),)
    with pytest.raises(DataError, match="question v_0: the segment must end after it starts, not 4 to 4 s"):
        tasks("activitynet-captioning", file)


@pytest.mark.parametrize("times", ["nan 4", "1 inf"])
def test_moments_are_finite(tmp_path: Path, times: str) -> None:
    (tmp_path / "charades_sta_test.txt").write_text(f"ABC {times}##a person sits.\n", "utf-8")
    with pytest.raises(DataError, match="line 1: its times are no numbers"):
        tasks("charades-sta", tmp_path)
    record = {"path": "a.mp4", "question": "when?"}
    for answer in (times.replace(" ", "-"), "28.1-13.4"):
        with pytest.raises(DataError, match="record 1: the field 'answer' is no range of seconds"):
            tasks("tvgbench", put(tmp_path, "t.json", [record | {"answer": answer}]))


def test_a_category_listed_twice_counts_once(tmp_path: Path) -> None:
    assert own(tmp_path, category=["p", "q", "p"])[0].categories == ("p", "q")
    record = SAMPLES["lvbench"][1][0]
    asked = record["qa"][0] | {"question_type": ["SR", "SR"]}
    assert tasks("lvbench", put(tmp_path, "v.jsonl", [record | {"qa": [asked]}]))[0].categories == ("SR",)
    record = SAMPLES["video-mme"][1][0] | {"domain": "short"}
    assert tasks("video-mme", put(tmp_path, "m.json", [record]))[0].categories == ("short", "SR")


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    file, (record,) = SAMPLES["video-holmes"]
    with pytest.raises(DataError, match="two questions with the id abc/3"):
        tasks("video-holmes", put(tmp_path, file, [record, record]))


def test_cg_bench_choices_must_agree_with_the_letter(tmp_path: Path) -> None:
    file, (record,) = SAMPLES["cg-bench"]
    with pytest.raises(DataError, match="name different choices"):
        tasks("cg-bench", put(tmp_path, file, [record | {"right_answer": "A"}]))


def test_only_cognition_is_reasoning(tmp_path: Path) -> None:
    file, (record,) = SAMPLES["cg-bench"]
    put(tmp_path, file, [record, record | {"qid": 4, "sub_category": "Hallucination"}])
    assert [task.id for task in tasks("cg-bench-reasoning", tmp_path)] == ["3"]
    assert tasks("cg-bench-grounding", tmp_path)[0].times == ((1.0, 2.5),)


def write_csv(file: Path, head: Sequence[str], *rows: Sequence[object]) -> None:
    with open(file, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def test_next_qa_has_indices_and_next_gqa_texts_and_times(tmp_path: Path) -> None:
    columns = ["frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4"]
    options = ["a", "b", "c", "d", "d"]
    write_csv(tmp_path / "val.csv", ["video", *columns], ["9", 1, 1, 1, "who, then", 2, 4, "CW", *options])
    (task,) = tasks("next-qa", tmp_path / "val.csv")
    assert (task.id, task.gold.letters, task.question) == ("9_4", {"C"}, "who, then")
    assert task.categories == ("CW", "causal")
    write_csv(tmp_path / "test.csv", ["video_id", *columns], *(
        ["9", 1, 1, 1, "who", answer, qid, "CW", *options] for qid, answer in ((4, "b"), (5, "d"))
    ))  # fmt: skip
    put(tmp_path, "gsub_test.json", {"9": {"duration": 5, "location": {"4": [[0, 1.5]], "5": [[2, 3]]}, "fps": 30}})
    first, second = tasks("next-gqa", tmp_path)
    assert (first.gold.letters, first.times) == ({"B"}, ((0.0, 1.5),))
    assert second.gold.letters == {"D"}  # two options are the same: the first
    put(tmp_path, "gsub_test.json", {"9": {"duration": 5, "location": {"4": [[0, 1.5]]}, "fps": 30}})
    with pytest.raises(DataError, match=r"9_5 of test.csv has no 'location'"):
        tasks("next-gqa", tmp_path)


def test_video_mme_as_its_authors_publish_it(tmp_path: Path) -> None:
    asked = {
        "question_id": "1-1",
        "task_type": "SR",
        "question": "Who?",
        "choices": ["A. one", "B. two"],
        "answer": "B",
    }
    video = {"video_id": "001", "duration_category": "short", "video_category": "Life Record", "questions": [asked]}
    (task,) = tasks("video-mme", put(tmp_path, "video_mme.json", [video]))
    assert (task.video, task.gold.letters, task.categories) == ("001", {"B"}, ("short", "Life Record", "SR"))


def test_video_mmmu_asks_about_a_video_in_three_tracks(tmp_path: Path) -> None:
    row = SAMPLES["video-mmmu"][1]["SR"]["0"]
    put(tmp_path, "comprehension_video.json", {"Comprehension": {"0": row}})
    put(tmp_path, "adaptation_video.json", {
        "Adaptation": {"0": row | {"question_type": "open", "options": [], "answer": "12.97"}}
    })  # fmt: skip
    first, second = tasks("video-mmmu", tmp_path)
    assert (first.id, first.video, first.categories) == (
        "Comprehension/dev_abc_3",
        "dev_abc_3",
        ("Comprehension", "abc"),
    )
    assert second.id == "Adaptation/dev_abc_3" and second.gold == Gold(text="12.97")
    with pytest.raises(DataError, match=r"holds neither perception_video\.json, .* nor the hub's folders"):
        tasks("video-mmmu", put(tmp_path, "other/x.json", {}).parent)


def write_parquet(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    return file


@pytest.mark.parametrize("name", ["video-mme", "mmvu", "star", "activitynet", "cg-bench"])
def test_parquet_holds_the_same(tmp_path: Path, name: str) -> None:
    file, rows = SAMPLES[name]
    files = [{**row, "image 1": {"bytes": b"\xff\xd8", "path": "1.jpg"}} for row in rows]
    read = tasks(name, write_parquet(tmp_path / "x.parquet", files))
    assert read == tasks(name, put(tmp_path, Path(file).name, rows))


def test_the_hubs_folders_are_found_by_their_names(tmp_path: Path) -> None:
    row = SAMPLES["video-mmmu"][1]["SR"]["0"]
    write_parquet(tmp_path / "Perception/test-00000-of-00001.parquet", [row])
    assert [task.id for task in tasks("video-mmmu", tmp_path)] == ["Perception/dev_abc_3"]
    write_parquet(tmp_path / "videomme/test-00000-of-00001.parquet", SAMPLES["video-mme"][1])
    assert [task.video for task in tasks("video-mme", tmp_path)] == ["abc"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": [["nested"]]}, "record 1: the field 'question' is no text"),
        ({"options": [{"text": "one"}]}, "record 1: the field 'options' is no list of texts"),
        ({"question": b"Who?"}, "record 1: the field 'question' is no text"),
        ({"options": {"bytes": b"x"}}, "record 1: the field 'options' is missing"),
    ],
)
def test_parquet_of_other_things_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        tasks("video-mme", write_parquet(tmp_path / "x.parquet", [SAMPLES["video-mme"][1][0] | change]))


def test_parquet_that_is_cut_off_or_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "x.parquet", [SAMPLES["video-mme"][1][0] | {"question": "Who?" * 10_000}] * 1000)
    assert file.stat().st_size < 100_000
    monkeypatch.setattr("vtcli.evals.benchmarks.tasks.LARGEST", 1_000_000)
    with pytest.raises(DataError, match="larger than"):
        tasks("video-mme", file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"x\.parquet is not Parquet, or was cut short: ") as caught:
        tasks("video-mme", file)
    assert "\n" not in str(caught.value)


def test_scalelong_in_video_r1s_schema(tmp_path: Path) -> None:
    (task,) = tasks("scalelong", put(tmp_path, "x.json", SAMPLES["activitynet"][1]))
    assert (task.id, task.gold.letters) == ("1", {"B"})


def test_folders_of_pictures_have_a_rate(tmp_path: Path) -> None:
    record = SAMPLES["mvbench"][1][0]
    put(tmp_path, "json/episodic_reasoning.json", [record | {"start": 0, "end": 9.5, "fps": 3, "show_name": "x"}])
    put(tmp_path, "json/action_count.json", [record])
    assert [(task.rate, task.end) for task in tasks("mvbench", tmp_path)] == [(None, None), (3.0, 9.5)]


def test_charades_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "charades_sta_test.txt").write_text("ABC 24.3 30.4##a person sits.\n", "utf-8")
    (one,) = tasks("charades-sta", tmp_path)
    two = tasks("charades-sta", put(tmp_path, "val.json", {
        "ABC": {"duration": 30.0, "timestamps": [[24.3, 30.4], [5, 2]], "sentences": ["a person sits.", "x"]}
    }))  # fmt: skip
    assert one.times == two[0].times == ((24.3, 30.4),) and one.question == two[0].question
    assert two[1].times == ((2.0, 5.0),) and one.captions == ("a person sits.",)
    (tmp_path / "bad.txt").write_text("ABC 24.3##x\n", "utf-8")
    with pytest.raises(DataError, match="line 1 is not"):
        tasks("charades-sta", tmp_path / "bad.txt")


def test_captioning_shows_only_the_segment(tmp_path: Path) -> None:
    file = put(tmp_path, "val_1.json", {"v": {"duration": 9, "timestamps": [[1, 4]], "sentences": [" A man sits."]}})
    (task,) = tasks("activitynet-captioning", file)
    assert (task.start, task.end, task.times, task.captions) == (1.0, 4.0, (), ("A man sits.",))
    database = {
        "database": {
            "v": {"subset": "validation", "annotations": [{"segment": [1, 4], "id": 0, "sentence": "x"}]},
            "w": {"subset": "training", "annotations": [{"segment": [1, 4], "id": 0, "sentence": "x"}]},
        }
    }
    (task,) = tasks("youcook2-captioning", put(tmp_path, "y.json", database))
    assert (task.start, task.end, task.captions) == (1.0, 4.0, ("x",))


def test_moments_of_a_query(tmp_path: Path) -> None:
    query = {"qid": 5, "query": "a man sits", "duration": 9, "vid": "v", "relevant_windows": [[0, 2], [4, 6]]}
    (task,) = tasks("qvhighlights", put(tmp_path, "highlight_val_release.jsonl", [query]))
    assert task.times == ((0.0, 2.0), (4.0, 6.0))
    (task,) = tasks(
        "tvgbench", put(tmp_path, "t.json", [{"path": "a.mp4", "question": "when?", "answer": "13.4-28.1"}])
    )
    assert task.times == ((13.4, 28.1),)


def test_several_right_options_where_the_solution_names_them(tmp_path: Path) -> None:
    record = SAMPLES["activitynet"][1][0] | {"solution": "<answer>A,B</answer>"}
    (task,) = tasks("activitynet", put(tmp_path, "x.json", [record]))
    assert task.gold.letters == {"A", "B"}


def test_option_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    """The prompt shows them to the model: a degree sign is no letter C."""
    file, (record,) = SAMPLES["cg-bench"]
    task = tasks("cg-bench", put(tmp_path, file, [record | {"choices": ["24\u2103", "two"]}]))[0]
    assert task.gold.options[0] == "24\u2103"


def test_names() -> None:
    with pytest.raises(UsageError, match="there is no benchmark 'x\\\\x1b': use one of video-holmes"):
        benchmark_named("x\x1b")
    for benchmark in BENCHMARKS.values():
        assert benchmark.annotations and benchmark.licence and benchmark.videos


@pytest.mark.parametrize(
    ("name", "path", "n", "videos"),
    [
        ("cg-bench", "cg-bench", 3000, 1118),
        ("cg-bench-reasoning", "cg-bench", 720, None),
        ("vrbench", "vrbench/VRBench_debug.jsonl", 13, 2),
        ("video-holmes", "video-holmes/example_questions/RSmjqss0XKQ.json", 8, 1),
        ("star", "star/sample_question.json", 1, 1),
        ("mvbench", "tw-grpo_evaluation/eval_mvbench.json", 4000, None),
        ("video-mme", "tw-grpo_evaluation/eval_videomme.json", 2700, 900),
        ("mmvu", "tw-grpo_evaluation/eval_mmvu.json", 625, None),
        ("tempcompass", "tempcompass", 1580 + 2453 + 1503, 410),
        ("next-gqa", "next-gqa", 5553, None),
        ("next-gqa", "next-gqa/val.csv", 3358, None),
        ("charades-sta", "charades-sta/val.json", 3720, 1334),
    ],
)
def test_real_annotations(material: Path, name: str, path: str, n: int, videos: int | None) -> None:
    found = tasks(name, material / "annotations" / path)
    assert len(found) == n
    if videos:
        assert len({task.video for task in found}) == videos


def test_real_counts_by_category(material: Path) -> None:
    counts = Counter(task.categories[0] for task in tasks("cg-bench-reasoning", material / "annotations/cg-bench"))
    assert counts == {
        "Entity Cognition": 300, "Event Cognition": 300, "Time Cognition": 60, "Text Cognition": 45,
        "Scene Cognition": 15,
    }  # fmt: skip
    mvbench = tasks("mvbench", material / "annotations/tw-grpo_evaluation/eval_mvbench.json")
    assert set(Counter(task.categories[0] for task in mvbench).values()) == {200}
