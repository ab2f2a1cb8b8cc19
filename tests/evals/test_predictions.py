"""Files of predictions: whole, half-written, gzipped, hostile."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.errors import DataError
from vtcli.evals import predictions as module
from vtcli.evals.predictions import Prediction, Trouble, prediction, read_predictions

GOOD: dict[str, Any] = {"id": "q1", "response": "C", "answer": "C", "options": ["a", "b", "c"]}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def troubles(path: Path) -> list[str]:
    return [str(each) for each in read_predictions(path) if isinstance(each, Trouble)]


def test_all_fields(tmp_path: Path) -> None:
    whole = GOOD | {"category": ["x", "y"], "times": [[1, 2.5]], "sample": 1, "video": "v.mp4"}
    (found,) = read_predictions(write(tmp_path / "p.jsonl", whole))
    assert isinstance(found, Prediction)
    assert (found.id, found.response, found.gold.letters) == ("q1", "C", {"C"})
    assert (found.categories, found.times, found.sample, found.video) == (("x", "y"), ((1.0, 2.5),), 1, "v.mp4")


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert len(list(read_predictions(tmp_path / "p.jsonl"))) == 1


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-300] + b"\xff" * 300])
def test_a_damaged_gzip_gives_what_comes_before(tmp_path: Path, damage: Any) -> None:
    lines = "".join(json.dumps(GOOD | {"id": n, "response": str(hash(str(n)))}) + "\n" for n in range(3000))
    (tmp_path / "p.jsonl.gz").write_bytes(damage(gzip.compress(lines.encode())))
    found = list(read_predictions(tmp_path / "p.jsonl.gz"))
    assert isinstance(found[0], Prediction) and isinstance(found[-1], Trouble)
    assert "damaged" in found[-1].message


def test_a_half_written_last_line(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", GOOD, "", GOOD)
    path.write_bytes(path.read_bytes()[:-20])
    assert troubles(path) == ["line 3: it is not JSON (cut off, or not one object a line)"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": "E"}, "line 1 (id q1): the answer 'E' is none of the 3 options"),
        ({"answer": None}, "the answer None is no text"),
        ({"response": 3}, "'response'"),
        ({"options": "abc"}, "'options'"),
        ({"options": {"B": "x"}}, "not A, B, C"),
        ({"times": [[3, 1]]}, "ends before it starts"),
        ({"times": [1, 2]}, "'times'"),
        ({"times": [[1, float("nan")]]}, "'times'"),
        ({"times": "1-2"}, "'times'"),
        ({"times": [[1, 10**400]]}, "'times'"),
        ({"form": "index"}, "the field 'form' is neither 'letter' nor 'text'"),
        ({"category": {"a": 1}}, "'category'"),
        ({"id": None}, "'id'"),
        ({"sample": -1}, "'sample'"),
        ({"video": 7}, "'video'"),
    ],
)
def test_what_a_line_lacks_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (found,) = troubles(write(tmp_path / "p.jsonl", GOOD | change))
    assert says in found


@pytest.mark.parametrize(
    ("change", "letters", "text"),
    [
        ({"answer": "A", "form": "letter", "options": ["B", "A"]}, {"A"}, "B"),
        ({"answer": "A", "form": "text", "options": ["B", "A"]}, {"B"}, "A"),
        ({"answer": ["A", "C"], "form": "letter", "options": ["C", "A", "B"]}, {"A", "C"}, "C, B"),
        ({"answer": "B", "form": "text", "options": None}, set(), "B"),
        ({"answer": "A. Lincoln", "form": "text", "options": None}, set(), "A. Lincoln"),
        ({"answer": "B", "options": None}, {"B"}, ""),
    ],
)
def test_the_form_says_whether_the_answer_is_a_letter(change: dict[str, Any], letters: set[str], text: str) -> None:
    gold = prediction(GOOD | change).gold
    assert (gold.letters, gold.text) == (letters, text)


@pytest.mark.parametrize("field", ["id", "response", "answer"])
def test_missing_fields(field: str) -> None:
    with pytest.raises(DataError, match=f"'{field}' is missing"):
        prediction({key: value for key, value in GOOD.items() if key != field})


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000, "[]", "null", '"\\ud800"', "\x00", "{}", '{"id": NaN}']
)
def test_hostile_lines_are_troubles(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "p.jsonl", line, GOOD)
    found = list(read_predictions(path))
    assert isinstance(found[0], Trouble) and isinstance(found[1], Prediction)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert all(isinstance(each, Trouble) for each in read_predictions(Path(file.name)))


def test_a_file_of_one_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1 << 10)
    with pytest.raises(DataError, match="line 1 is longer"):
        list(read_predictions(write(tmp_path / "p.jsonl", "x" * 5000)))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "no\x1b.jsonl", r"no such file: .*\\x1b"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=says):
            list(read_predictions(path))


def test_a_byte_order_mark_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert troubles(tmp_path / "p.jsonl") == []
