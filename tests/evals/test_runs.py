"""Run folders: begun, gone on with, damaged, another's; and reports made from nothing but them."""

from __future__ import annotations

import html.parser
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import validate
from vtcli.cli.eval.report import report_lines, write_report
from vtcli.errors import DataError, UsageError
from vtcli.evals.benchmarks.tasks import Task
from vtcli.evals.compare import compare, side
from vtcli.evals.html import page
from vtcli.evals.predictions import read_predictions
from vtcli.evals.report import make_report, markdown, paper_table
from vtcli.evals.runs import Asked, Run, item_id, open_run, plan_run, write_run
from vtcli.scoring.gold import Gold, resolve

HOSTILE = "<script>alert(1)</script>\x1b[31m|`\u202e&"
CONFIG: dict[str, Any] = {
    "schema": "vt.run/1",
    "benchmark": "video-holmes",
    "title": "Video-Holmes",
    "kind": "choice",
    "note": "",
    "known": "file",
    "annotations": {"name": "a.json", "sha256": "00"},
    "prompt": "paper",
    "extract": ["paper", "strict"],
    "frames": [16],
    "samples": 1,
    "model": {"name": "m", "revision": None, "engine": "transformers", "weights": "w"},
    "sampling": {"seed": 0},
    "environment": {"vt": "0"},
}


def begin_run(folder: Path, config: dict[str, Any], asked: Sequence[Asked]) -> Run:
    """Creates a run or continues it, without asking anything."""
    run = plan_run(folder, config, asked)
    folder.mkdir(exist_ok=True)
    write_run(run)
    return run


def asked(n: int = 4, present: int | None = None, times: bool = False) -> list[Asked]:
    return [
        Asked(
            Task(
                f"q{number}",
                f"v{number // 2}.mp4",
                f"Who? {HOSTILE}",
                resolve("A", ["one", f"two {HOSTILE}"]),
                (f"c{number % 2}", HOSTILE),
                times=((0.0, 10.0),) if times else (),
            ),
            f"/videos/v{number // 2}.mp4" if present is None or number < present else None,
        )
        for number in range(n)
    ]


def line(id: str, text: str, error: str | None = None) -> dict[str, Any]:
    """What a report reads of a `vt.answer/1` line."""
    return {
        "schema": "vt.answer/1",
        "id": id,
        "video": {"path": "v.mp4"},
        "text": text,
        "finish": "stop",
        "warnings": [] if error else [f"guessed {HOSTILE}"],
        "settings": {"fps": None},
        "model": {"device": "cpu"},
        "sampling": None if error else {"frames": 16},
        "usage": None if error else {"completion_tokens": 5},
        "timing": None if error else {"generate": 1.0, "prefill": 0.5, "encode": 0.5},
        "error": {"type": "VideoError", "message": error} if error else None,
    }


def answer(run: Run, replies: Sequence[str | None], frames: object = 16, sample: int = 0, shard: str = "") -> None:
    with open(run.folder / f"answers{shard}.jsonl", "a", encoding="utf-8") as file:
        for each, reply in zip(run.asked, replies, strict=False):
            if reply is not None:
                id = item_id(each.task.id, frames, sample)
                error = f"no frames {HOSTILE}" if reply == "ERROR" else None
                file.write(json.dumps(line(id, "" if error else reply, error)) + "\n")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    begun = begin_run(tmp_path / "run", CONFIG, asked())
    opened = open_run(tmp_path / "run")
    assert opened == begun and opened.asked[0].task.gold.letters == {"A"}


def test_a_report_counts_what_is_missing_failed_and_not_yet_answered(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked(6, present=5))
    answer(run, ["A", "<answer>B</answer>", "ERROR", "A"])
    report = make_report(open_run(run.folder))
    record = report.settings[0].record
    validate(report.as_json(), "report")
    assert [record[name] for name in ("asked", "missing", "failed", "unanswered")] == [6, 1, 1, 1]
    assert (record["score"]["n"], record["score"]["accuracy"], record["accuracy_all"]) == (4, 50, 33.3333)
    assert record["chance"] == 50 and record["published"]["Video-Thinker-7B"] == 43.22
    assert record["used"] == {
        "frames": {"16": 3}, "completion_tokens": 5.0, "cut": 0, "model_seconds": 2.0, "devices": ["cpu"],
        "warnings": [{"text": f"guessed {HOSTILE}", "n": 3}],
    }  # fmt: skip
    text = "\n".join(report_lines(report))
    assert "1 of 6 questions have no video: 33.33 % over all of them" in text and "3 answers: guessed" in text
    assert "Video-Thinker-7B (published)" in text and "1 could not be answered" in text
    assert not set(text) & {"\x1b", "\u202e"}


def test_reports_are_made_again_from_the_answers_alone(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked(times=True))
    answer(run, ["A", "<time>00:00-00:05</time><answer>A</answer>", "B", "ERROR"])
    write_report(make_report(run))
    made = ("predictions.jsonl", "scores.json", "report.md", "report.html")
    first = {name: (run.folder / name).read_bytes() for name in made}
    for name in made:
        (run.folder / name).unlink()
    write_report(make_report(open_run(run.folder)))
    assert {name: (run.folder / name).read_bytes() for name in made} == first
    predictions = list(read_predictions(run.folder / "predictions.jsonl"))
    assert [p.response for p in predictions] == ["A", "<time>00:00-00:05</time><answer>A</answer>", "B", None]  # type: ignore[union-attr]
    assert make_report(run, ["strict"]).settings[0].record["score"]["grounding"]["miou"] == 12.5


def test_predictions_of_before_there_were_more_frames_are_gone(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    write_report(make_report(run))
    write_report(make_report(begin_run(tmp_path / "run", CONFIG | {"frames": [32]}, asked())))
    assert {file.name for file in run.folder.glob("pred*")} == {"predictions-16.jsonl", "predictions-32.jsonl"}


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_no_text_of_others_becomes_markup(tmp_path: Path) -> None:
    model = CONFIG["model"] | {"name": HOSTILE, "engine": HOSTILE}
    config = CONFIG | {"title": HOSTILE, "note": HOSTILE, "prompt": HOSTILE, "model": model, "frames": [16, "0.5 fps"]}
    run = begin_run(tmp_path / "run", config, asked(times=True))
    for frames in (16, "0.5 fps"):
        answer(run, [f"<answer>A</answer></pre>{HOSTILE}", "ERROR", "B"], frames)
    write_report(make_report(run))
    text = (run.folder / "report.html").read_text("utf-8")
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags and {"svg", "table", "details"} <= set(page.tags)
    assert not any(name.startswith("on") or name in ("src", "href") for name in page.attributes)
    assert not set(text) & {"\x1b", "\u202e"} and "default-src 'none'" in text
    for start in [i for i in range(len(text)) if text.startswith("<svg", i)]:
        ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])
    markdown = (run.folder / "report.md").read_text("utf-8")
    assert "<script>" not in markdown and "\x1b" not in markdown and "|`" not in markdown


def test_a_run_goes_on_with_more_frames_and_samples(tmp_path: Path) -> None:
    begin_run(tmp_path / "run", CONFIG, asked())
    more = begin_run(tmp_path / "run", CONFIG | {"frames": [32], "samples": 3, "environment": {"vt": "1"}}, asked())
    assert more.frames == [16, 32] and more.config["samples"] == 3 and more.config["environment"] == {"vt": "0"}
    assert open_run(tmp_path / "run") == more
    found = begin_run(tmp_path / "run", CONFIG, asked(5, present=2))
    assert found.asked[3].path is None and len(found.asked) == 5  # where videos lie may change
    assert found.frames == [16, 32]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": CONFIG["model"] | {"weights": "x"}}, 'its model has weights "w", here "x"'),
        ({"prompt": "plain"}, 'its prompt is "paper", here "plain"'),
        ({"sampling": {"seed": 1}}, "its sampling has seed 0, here 1"),
        ({"benchmark": "star"}, "its benchmark is"),
        ({}, "it asks 4 questions, which are not the first of these 3"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    begin_run(tmp_path / "run", CONFIG, asked())
    with pytest.raises(DataError, match=says):
        begin_run(tmp_path / "run", CONFIG | change, asked() if change else asked(3))


def test_a_folder_that_was_being_made_is_made_anew(tmp_path: Path) -> None:
    begin_run(tmp_path / "run", CONFIG, asked())
    (tmp_path / "run" / "run.json").rename(tmp_path / "run" / ".run.json.7.part")
    assert begin_run(tmp_path / "run", CONFIG, asked(2)).asked == tuple(asked(2))


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="is there and is no run"):
        begin_run(tmp_path, CONFIG, asked())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("run.json", None, "is no run: it has no run.json"),
        ("run.json", "{", "not JSON"),
        ("run.json", '{"schema": "vt.run/2"}', "no run of this version"),
        ("run.json", '{"schema": "vt.run/1"}', "is damaged"),
        ("run.json", json.dumps(CONFIG | {"frames": [[16]]}), "is damaged"),
        ("run.json", json.dumps(CONFIG | {"frames": ["/../../x fps"]}), "is damaged"),
        ("run.json", json.dumps(CONFIG | {"samples": "2"}), "is damaged"),
        ("run.json", json.dumps(CONFIG | {"model": {"name": 3}}), "is damaged"),
        ("tasks.jsonl", json.dumps(asked()[0].as_json() | {"id": [1]}), "is damaged: TypeError"),
        ("tasks.jsonl", None, "has no tasks.jsonl"),
        ("tasks.jsonl", "{}", "is damaged: KeyError"),
        ("tasks.jsonl", '{"id": 1', "is damaged"),
        ("answers.jsonl", '{"id": "q0@16#0"}\n{"id": 2}\n', "line 1 is no answer"),
        ("answers.jsonl", json.dumps(line("q0@16#0", "A") | {"usage": {}}) + "\n{}\n", "line 1 is no answer"),
        ("answers.jsonl", '{"id": "q0@16#0", "error": true}\n{}\n', "line 1 is no answer"),
    ],
)
def test_damaged_runs(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    answer(run, ["A"])
    file = run.folder / name
    file.unlink() if content is None else file.write_text(content, "utf-8")
    with pytest.raises(DataError, match=says):
        make_report(open_run(run.folder))


def test_a_last_answer_that_is_cut_off_does_not_count(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    answer(run, ["A", "A"])
    file = run.folder / "answers.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    assert make_report(run).settings[0].record["score"]["n"] == 1


def test_shards_are_read_together(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    answer(run, ["A", None, "A"], shard="-1-of-2")
    answer(run, [None, "B", None, "B"], shard="-2-of-2")
    record = make_report(run).settings[0].record
    assert (record["score"]["n"], record["score"]["accuracy"], record["unanswered"]) == (4, 50, 0)


def test_an_answer_is_not_replaced_by_an_error(tmp_path: Path) -> None:
    for first, second in (("A", "ERROR"), ("ERROR", "A")):
        run = begin_run(tmp_path / first, CONFIG, asked(1))
        answer(run, [first], shard="-1-of-2")
        answer(run, [second])
        record = make_report(run).settings[0].record
        assert (record["failed"], record["score"]["accuracy"]) == (0, 100)


def test_missing_are_only_those_without_a_video_and_without_an_answer(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked(6, present=4))
    answer(run, [None, "A", "A", "A", "A"])
    record = make_report(run).settings[0].record
    assert [record[name] for name in ("asked", "missing", "unanswered")] == [6, 1, 1]


def test_a_report_names_the_rules_it_used(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    answer(run, "AAAB")
    report = make_report(run, ["whole"])
    assert "answers read by | whole |" in markdown(report) and "answers read by whole." in page(report)


def test_replies_are_not_called_questions(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG | {"samples": 2}, asked(4, present=3))
    answer(run, "AAA")
    text = "\n".join(report_lines(make_report(run)))
    assert "2 of 8 replies have no video" in text and "3 of 8 replies are not answered yet" in text
    assert all("2 of 8 replies have no video" in made(make_report(run)) for made in (markdown, page))


def test_samples(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG | {"samples": 3}, asked())
    for sample, replies in enumerate(("AAAA", "ABAA", "ABBB")):
        answer(run, replies, sample=sample)
    score = make_report(run).settings[0].record["score"]
    assert score["n"] == 12 and score["samples"]["majority"] == 75 and score["samples"]["pass"]["3"] == 100


def test_nothing_answered_yet(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", CONFIG, asked())
    report = make_report(run)
    validate(report.as_json(), "report")
    write_report(report)
    assert "16 frames: nothing answered yet" in "\n".join(report_lines(report))


def test_an_unknown_rule(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--extract best"):
        make_report(begin_run(tmp_path / "run", CONFIG, asked()), ["best"])


def test_several_runs_make_the_papers_table(tmp_path: Path) -> None:
    reports = []
    for name, replies in (("one", "AAAB"), ("two", "ABBB")):
        config = CONFIG | {"model": CONFIG["model"] | {"name": name}}
        run = begin_run(tmp_path / name, config, asked())
        answer(run, replies)
        reports.append(make_report(run))
    again = begin_run(tmp_path / "again", CONFIG | {"model": CONFIG["model"] | {"name": "one"}}, asked())
    answer(again, "AABB")
    head, rows = paper_table([*reports, make_report(again)])
    assert head == ("model", "frames", "video-holmes")
    assert rows[-3:] == [("one", "16", "75.00"), ("two", "16", "25.00"), ("one (again)", "16", "50.00")]
    assert ("Video-Thinker-7B (published)", "16", "43.22") in rows


def test_the_papers_table_drops_no_run(tmp_path: Path) -> None:
    reports = []
    for number, replies in enumerate(("AAAA", "AAAB", "AABB", "ABBB")):
        (tmp_path / f"{number}").mkdir()
        run = begin_run(tmp_path / f"{number}" / "run", CONFIG, asked())
        answer(run, replies)
        reports.append(make_report(run))
    assert paper_table(reports)[1][-4:] == [
        ("m", "16", "100.00"), ("m (run)", "16", "75.00"), ("m (run 2)", "16", "50.00"), ("m (run 3)", "16", "25.00"),
    ]  # fmt: skip


def test_the_papers_table_has_a_row_for_each_prompt(tmp_path: Path) -> None:
    reports = []
    for name, prompt in (("star", "paper"), ("video-holmes", "plain")):
        run = begin_run(tmp_path / name, CONFIG | {"benchmark": name, "prompt": prompt}, asked())
        answer(run, "AAAA")
        reports.append(make_report(run))
    head, rows = paper_table(reports)
    assert set(head[2:]) == {"star", "video-holmes"}
    cells = {str(row[0]): dict(zip(head, row, strict=True)) for row in rows[-2:]}
    assert cells["m, paper prompt"]["star"] == cells["m, plain prompt"]["video-holmes"] == "100.00"
    assert cells["m, paper prompt"]["video-holmes"] == cells["m, plain prompt"]["star"] == "-"


def test_compare(tmp_path: Path) -> None:
    runs = []
    for name, replies in (("one", "AAAAAAAAAAAAAAAB"), ("two", "ABBBBBBBBBBBBBBB")):
        run = begin_run(tmp_path / name, CONFIG | {"model": CONFIG["model"] | {"name": name}}, asked(16))
        answer(run, replies)
        write_report(make_report(run))
        runs.append(run.folder)
    record = compare(side(runs[0], None, ["strict"]), side(runs[1], None, ["strict"]))
    validate(record, "compare")
    assert (record["common"], record["difference"], record["only_a"], record["only_b"]) == (16, -87.5, 14, 0)
    assert record["p"] == pytest.approx(2 / 2**14) and record["verdict"] == "a"
    assert (
        record["by_category"]["c0"]["n"] == 8
        and record["by_category"]["c0"]["p_holm"] >= record["by_category"]["c0"]["p"]
    )
    files = compare(*(side(folder / "predictions.jsonl", None, ["strict"]) for folder in runs))
    assert files["difference"] == record["difference"]
    same = compare(side(runs[0], None, ["strict"]), side(runs[0], "16", ["strict"]))
    assert same["verdict"] == "unclear" and same["p"] == 1


def moments(n: int) -> list[Asked]:
    """Tasks of a grounding benchmark, each about its own video; the true span is 0-10 s."""
    times = ((0.0, 10.0),)
    tasks = (Task(f"q{number}", f"v{number}.mp4", "When?", Gold(text="0-10"), times=times) for number in range(n))
    return [Asked(task, f"/videos/{task.video}") for task in tasks]


def grounding_run(folder: Path, ends: Sequence[int]) -> Path:
    run = begin_run(folder, CONFIG | {"benchmark": "charades-sta", "kind": "grounding"}, moments(len(ends)))
    answer(run, [f"<time>00:00-00:{end:02}</time><answer>0-{end}</answer>" for end in ends])
    write_report(make_report(run))
    return folder


def test_grounding_is_compared_by_overlap(tmp_path: Path) -> None:
    a, b = (grounding_run(tmp_path / name, ends) for name, ends in (("a", [2, 3] * 8), ("b", [8, 9] * 8)))
    record = compare(side(a, None, ["strict"]), side(b, None, ["strict"]))
    validate(record, "compare")
    assert record["metric"] == "miou" and record["a"]["miou"] == 25 and record["b"]["miou"] == 85
    assert record["difference"] == 60 and record["interval"] == [60, 60] and record["verdict"] == "b"
    assert record["only_a"] is record["only_b"] is None and record["p"] < 0.001
    files = compare(*(side(folder / "predictions.jsonl", None, ["strict"]) for folder in (a, b)))
    assert (files["metric"], files["difference"]) == ("miou", 60)
    mixed = compare(side(a, None, ["strict"]), side(b / "predictions.jsonl", None, ["strict"]))
    assert mixed["difference"] == 60
    few = compare(*(side(grounding_run(tmp_path / f"{n}", [n] * 2), None, ["strict"]) for n in (2, 9)))
    assert few["interval"] == [70, 70] and few["verdict"] == "unclear"  # two videos prove nothing


def test_compare_refuses_captions_and_other_kinds(tmp_path: Path) -> None:
    captions = begin_run(tmp_path / "captions", CONFIG | {"kind": "captioning"}, asked())
    with pytest.raises(DataError, match="captions are not compared answer by answer"):
        side(captions.folder, None, ["strict"])
    choice = begin_run(tmp_path / "choice", CONFIG, moments(2))
    answer(choice, ["<answer>0-10</answer>"] * 2)
    times = grounding_run(tmp_path / "times", [10, 10])
    with pytest.raises(DataError, match="the one is a choice run, the other a grounding run"):
        compare(side(choice.folder, None, ["strict"]), side(times, None, ["strict"]))


def test_compare_refuses_what_is_not_of_the_same_questions(tmp_path: Path) -> None:
    def file(name: str, id: str, truth: str) -> Any:
        path = tmp_path / name
        path.write_text(json.dumps({"id": id, "response": "A", "answer": truth, "options": ["x", "y"]}), "utf-8")
        return side(path, None, ["strict"])

    with pytest.raises(DataError, match="no question in common"):
        compare(file("a", "1", "A"), file("b", "2", "A"))
    with pytest.raises(DataError, match="the question 1 has the answer A in the one and B"):
        compare(file("a", "1", "A"), file("b", "1", "B"))
    (tmp_path / "c").write_text("{", "utf-8")
    with pytest.raises(DataError, match="line 1: it is not JSON"):
        side(tmp_path / "c", None, ["strict"])
    run = begin_run(tmp_path / "run", CONFIG | {"frames": [16, 32]}, asked())
    with pytest.raises(DataError, match="was run with 16, 32 frames: say which"):
        side(run.folder, None, ["strict"])
