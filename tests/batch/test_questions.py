"""Files of questions: what they may hold, and the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtcli.ask import Question
from vtcli.batch.questions import Asked, make_items, read_questions
from vtcli.errors import UsageError

BASE = Question("", "", "m", start=1.0)


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def to(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to


def test_csv_tsv_and_json_lines_say_the_same(write) -> None:  # type: ignore[no-untyped-def]
    csv = write(
        "q.csv", '\ufeffvideo,question,choices,id,start,gold\n"a,b.mp4",why?,x | y,q1,2.5,x\nc.mp4,"two\nlines"\n'
    )
    tsv = write(
        "q.tsv",
        'video\tquestion\toptions\tid\tstart\tgold\na,b.mp4\twhy?\t"[""x"", ""y""]"\tq1\t2.5\tx\nc.mp4\t"two\nlines"\n',
    )
    rows = [
        {
            "video": "a,b.mp4",
            "question": "why?",
            "options": {"A": "x", "B": "y"},
            "id": "q1",
            "start": 2.5,
            "gold": "x",
        },
        {"video": "c.mp4", "question": "two\nlines", "choices": None},
    ]
    jsonl = write("q.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    items = [make_items(read_questions(path), (), BASE) for path in (csv, tsv, jsonl)]
    assert items[0] == items[1] == items[2]
    (first, second), again = items[0]
    assert again == 0
    assert (first.id, first.extra, first.question.choices) == ("q1", {"gold": "x"}, ("x", "y"))
    assert (first.question.video, first.question.start, second.question.start) == ("a,b.mp4", 2.5, 1.0)
    assert second.question.question == "two\nlines"


def test_questions_without_a_video_are_asked_of_every_one(write) -> None:  # type: ignore[no-untyped-def]
    path = write("q.jsonl", '{"question": "why?", "id": 7}\n{"question": "who?"}\n')
    items, _ = make_items(read_questions(path), ("a.mp4", "b.mp4"), BASE)
    assert [(item.question.video, item.question.question) for item in items] == [
        ("a.mp4", "why?"), ("a.mp4", "who?"), ("b.mp4", "why?"), ("b.mp4", "who?"),
    ]  # fmt: skip
    assert len({item.id for item in items}) == 4
    assert items[0].extra == {"id": "7"}


def test_what_is_asked_twice_is_asked_once_but_one_id_is_not_two_questions() -> None:
    twice = [Asked("why?", video="a.mp4", id=id, where=f"line {n}") for n, id in enumerate([None, None, "x", "x"])]
    items, again = make_items(twice, (), BASE)
    assert (len(items), again) == (2, 2)
    with pytest.raises(UsageError, match="line 9: another question has the id x"):
        make_items([*twice, Asked("who?", video="a.mp4", id="x", where="line 9")], (), BASE)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.txt", "why?", r"read from \.csv, \.tsv and \.jsonl"),
        ("q.csv", "", "names no column question"),
        ("q.csv", "video,text\na,b\n", "names no column question"),
        ("q.csv", "question,question\na,b\n", "two columns have the same name"),
        ("q.csv", "question\n", "holds no question"),
        ("q.csv", "question,id\nwhy?,1,2\n", "line 2 has 3 cells"),
        ("q.csv", 'question\n"why?\n', "line 2: unexpected end of data"),
        ("q.csv", "video,question\na.mp4,\n", "line 2: no question"),
        ("q.csv", "question,start\nwhy?,1:20\n", "line 2: start is a number of seconds, not 1:20"),
        ("q.csv", "question,choices\nwhy?,[x\n", "line 2: choices begin with"),
        ("q.csv", b"question\n\xff\n", "is not UTF-8 text"),
        ("q.jsonl", "[]\n", "line 1 is no JSON object"),
        ("q.jsonl", '{"question": "why?"}\n{"question": "wh', "line 2 is no JSON object"),
        ("q.jsonl", "[" * 100_000, "line 1 is no JSON object"),
        ("q.jsonl", '{"question": 5}', "line 1: this is no question"),
        ("q.jsonl", '{"question": "why?", "video": "a\\u0000.mp4"}', "line 1: video holds a NUL"),
        ("q.jsonl", '{"question": "why?", "choices": [1, 2]}', "line 1: choices are a list of texts"),
        ("q.jsonl", '{"question": "why?", "choices": {"B": "x", "A": "y"}}', "line 1: choices by letter"),
        ("q.jsonl", '{"question": "why?", "choices": ["x"], "options": ["x"]}', "two names of one column"),
        ("q.jsonl", '{"question": "why?", "id": true}', "line 1: id is text"),
        ("q.jsonl", '{"question": "why?", "end": 1e999}', "line 1: end is a number of seconds"),
        ("q.jsonl", '{"question": "why?"}\n{"question": "why?", "gold": NaN}', "line 2: gold holds NaN or an infinite"),
        ("q.jsonl", '{"question": "why?", "gold": {"x": [-Infinity]}}', "line 1: gold holds NaN or an infinite"),
        ("q.jsonl", '{"question": "why?", "gold": 1e999}', "line 1: gold holds NaN or an infinite"),
    ],
)
def test_the_line_that_is_wrong_is_named(write, name: str, text: str | bytes, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=said):
        read_questions(write(name, text))


@pytest.mark.parametrize("line", ["a.mp4,why?,5,3", "a.mp4,why?,,1"])
def test_a_part_that_ends_before_it_starts_is_named(write, line: str) -> None:  # type: ignore[no-untyped-def]
    asked = read_questions(write("q.csv", f"video,question,start,end\nb.mp4,why?,,\n{line}\n"))
    with pytest.raises(UsageError, match="line 3: --end"):
        make_items(asked, [], BASE)


@pytest.mark.parametrize(
    ("asked", "videos", "said"),
    [
        ([Asked("why?", ("x",), where="line 1")], ("a.mp4",), "line 1: one choice only"),
        ([Asked("wh\udcff", where="line 1")], ("a.mp4",), "line 1: the question or a choice is not valid UTF-8"),
        ([Asked("why?", video="a.mp4", where="line 1")], ("b.mp4",), "give no SOURCE beside them"),
        (
            [Asked("why?", video="a.mp4"), Asked("who?", where="line 2")],
            (),
            "line 2: no video; other lines name theirs",
        ),
        ([Asked("why?", video="-", where="line 1")], (), "takes no video from standard input"),
    ],
)
def test_what_cannot_be_asked_is_named(asked: list[Asked], videos: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_items(asked, videos, BASE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(content=st.one_of(st.binary(max_size=200), st.text('{}[]",:\n\t|question video', max_size=200).map(str.encode)))
@pytest.mark.parametrize("name", ["q.csv", "q.jsonl"])
def test_any_content_is_read_or_refused(write, name: str, content: bytes) -> None:  # type: ignore[no-untyped-def]
    try:
        read_questions(write(name, content))
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
