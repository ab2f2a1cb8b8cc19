"""Records are read from the formats there are, and what is wrong with one is found, named and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("yaml")

from tests.train.conftest import Written
from vtcli.errors import DataError
from vtcli.train.records import read_records

CHOICE = {
    "problem": "Why did he leave?",
    "problem_type": "multiple choice",
    "data_type": "video",
    "options": ["A. it rained", "B. he was late"],
    "process": "Let me see …",
    "solution": "<answer>B</answer>",
    "path": "./STAR/clip.mp4",
    "data_source": "STAR",
}


def test_the_papers_fields(tmp_path: Path) -> None:
    file = tmp_path / "10k.json"
    file.write_text(json.dumps([CHOICE]))
    (record,) = read_records([file], {"STAR": str(tmp_path)}).records
    assert record.options == ("it rained", "he was late")
    assert (record.answer, record.solution) == ("B", "<answer>B</answer>")
    assert record.videos == (tmp_path / "STAR/clip.mp4",)
    assert record.place == "10k.json:1"


def test_json_lines_and_parquet_hold_the_same(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [CHOICE, CHOICE | {"times": [[1.0, 2.5]]}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    parquet.write_table(arrow.Table.from_pylist([{"times": None} | row for row in rows]), tmp_path / "a.parquet")
    lines, table = (read_records([tmp_path / name]).records for name in ("a.jsonl", "a.parquet"))
    assert [(r.problem, r.options, r.spans, r.videos) for r in lines] == [
        (r.problem, r.options, r.spans, r.videos) for r in table
    ]
    assert lines[1].spans == ((1.0, 2.5),)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"problem": ...}, "fields", "problem is missing"),
        ({"problem": 3}, "fields", "problem is no text"),
        ({"problem": "\ud800"}, "fields", "Unicode"),
        ({"solution": ...}, "fields", "solution is missing"),
        ({"solution": "<answer>G</answer>"}, "answer", "is none of"),
        ({"solution": "<answer> </answer>"}, "answer", "empty"),
        ({"options": ["A. one"]}, "fields", "1 options"),
        ({"options": "A. one"}, "fields", "no list of texts"),
        ({"options": ["A. x", "B. x"], "solution": "x"}, "answer", "several"),
        ({"problem_type": "essay"}, "fields", "'essay' is none of"),
        ({"data_type": "image", "path": ...}, "fields", "path is missing"),
        ({"data_type": "image", "path": "../a.png"}, "path", "leads out"),
        ({"data_type": "sound"}, "fields", "none of video, image, text"),
        ({"path": ...}, "fields", "path is missing"),
        ({"path": []}, "fields", "path is missing"),
        ({"path": "../../etc/passwd"}, "path", "leads out"),
        ({"path": "a/../../b"}, "path", "leads out"),
        ({"path": "/etc/passwd"}, "path", "leads out"),
        ({"path": "..\\b.mp4"}, "path", "leads out"),
        ({"path": "C:\\b.mp4"}, "path", "leads out"),
        ({"path": "a\0b"}, "path", "leads out"),
        ({"path": "http://host/a.mp4"}, "path", "address"),
        ({"path": "file:///a.mp4"}, "path", "address"),
        ({"times": [[3, 1]]}, "answer", "no stretch of time"),
        ({"times": "now"}, "fields", "no list of"),
        ({"times": [[1, float("inf")]]}, "answer", "no stretch of time"),
        ({"problem_type": "numerical", "solution": "many"}, "answer", "no number"),
        ({"problem_type": "temporal grounding", "solution": "soon", "times": ...}, "answer", "no stretch of time"),
    ],
)
def test_what_is_wrong_with_a_record(written: Written, change: dict[str, object], kind: str, message: str) -> None:
    read = read_records([written({}, change)])
    assert len(read.records) == 1 and read.total == 2
    (problem,) = read.problems
    assert (problem.kind, problem.place) == (kind, "data.jsonl:2")
    assert message in problem.message
    assert str(problem).isprintable()


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"problem": \n[1]\nnull\n' + b"[" * 100_000 + b"\n\xff\xfe\n")
    read = read_records([file])
    assert len(read.problems) == 5 and not read.records


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, data in (("a.json", b"[1,"), ("b.json", b"{}"), ("c.parquet", b"PAR1"), ("d.txt", b""), ("e.json", None)):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        if name == "c.parquet":
            pytest.importorskip("pyarrow")
        with pytest.raises(DataError, match=name):
            read_records([tmp_path / name])
    (tmp_path / "a.jsonl").write_text(json.dumps(CHOICE))
    with pytest.raises(DataError, match="no such folder of videos"):
        read_records([tmp_path / "a.jsonl"], {"STAR": str(tmp_path / "none")})


def test_several_videos_and_none(written: Written) -> None:
    two, none = read_records([written({"path": ["a.mp4", "b.mp4"]}, {"path": ..., "data_type": ...})]).records
    assert [video.name for video in two.videos] == ["a.mp4", "b.mp4"]
    assert none.shown == ()


def test_pictures(written: Written) -> None:
    one, two = read_records(
        [written({"data_type": "image", "path": "a.png"}, {"data_type": "image", "path": ["a.png", "b/c.jpg"]})]
    ).records
    assert one.videos == two.videos == () and [file.name for file in one.shown] == ["a.png"]
    assert [file.name for file in two.pictures] == ["a.png", "c.jpg"]
