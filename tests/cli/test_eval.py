"""`vt eval score`: streams, exit codes, the JSON contract, published figures."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, run  # noqa: F401  # the fixture
from tests.e2e.conftest import ROOT, validate
from tests.scoring.test_official import TRAINED, ZEROSHOT

ESCAPE = "\x1b]0;owned\x07"


def write(path: Path, *records: dict[str, Any] | str) -> str:
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def item(id: object, response: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "response": response, "answer": "A", "options": ["A. x", "B. y"], **more}


def test_json(run: Run, tmp_path: Path) -> None:  # noqa: F811
    file = write(tmp_path / "p.jsonl", item(1, "A", category="c"), item(2, "B"), item(2, "A"))
    done = run("eval", "score", file, "--json", "--extract", "paper", "--extract", "strict")
    record = json.loads(done.out)
    validate(record, "score")
    assert done.code == 0 and (record["n"], record["correct"], record["duplicates"]) == (2, 2, 1)
    assert record["extract"] == "paper" and set(record["by_extract"]) == {"paper", "strict"}
    assert done.err == "vt: warning: 1 lines have the id of a later one and do not count\n"


def test_what_could_not_be_scored_is_told_and_the_exit_code_is_3(run: Run, tmp_path: Path) -> None:  # noqa: F811
    file = write(tmp_path / "p.jsonl", item(1, "A"), item(f"2{ESCAPE}", "A", answer="E"), '{"id": 3, "resp')
    done = run("eval", "score", file)
    assert done.code == 3 and "1 of 1" in done.out
    assert [line[:40] for line in done.err.splitlines()] == [
        "vt: warning: not scored: line 2 (id 2␛]0",
        "vt: warning: not scored: line 3: it is n",
    ]
    assert "\x1b" not in done.err + done.out


def test_hostile_categories_reach_no_terminal(run: Run, tmp_path: Path) -> None:  # noqa: F811
    file = write(tmp_path / "p.jsonl", item(1, "A", category=f"a{ESCAPE}\nb"), item(2, "A", category="名前 \u202e"))
    done = run("eval", "score", file)
    assert done.code == 0 and not set(done.out) & {"\x1b", "\x07", "\u202e"}
    assert "\x1b" not in run("eval", "score", file, "--json").out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["/no/such.jsonl"], 1, "no such file"),
        (["."], 1, "is a folder"),
        (["EMPTY"], 1, "the file is empty"),
        (["EMPTY", "--extract", "best"], 2, "--extract best: use one of strict, paper"),
        ([], 2, "Missing argument 'FILE|-'"),
    ],
)
def test_bad_input(run: Run, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:  # noqa: F811
    empty = write(tmp_path / "empty.jsonl")
    done = run("eval", "score", *(empty if word == "EMPTY" else word for word in arguments))
    assert (done.code, done.out) == (code, "") and done.err.startswith("vt: error: ") and says in done.err
    assert done.err.count("\n") == 1


def test_a_file_of_another_format_names_the_field_that_is_missing(run: Run, tmp_path: Path) -> None:  # noqa: F811
    done = run("eval", "score", write(tmp_path / "p.jsonl", {"question": "?", "prediction": "A"}))
    assert done.code == 1 and done.err == (
        "vt: error: there is no prediction to score: line 1: the field 'id' is missing\n"
    )


def test_standard_input(tmp_path: Path) -> None:
    line = json.dumps(item(1, "A")).encode()
    for data in (line, gzip.compress(line)):
        command = [sys.executable, "-m", "vtcli", "eval", "score", "-", "--json"]
        done = subprocess.run(command, input=data, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert json.loads(done.stdout)["accuracy"] == 100, done.stderr


@pytest.mark.parametrize(
    ("published", "rule", "correct"), [(TRAINED, "strict", 411), (ZEROSHOT, "whole", 409), (ZEROSHOT, "strict", 411)]
)
def test_published_outputs(run: Run, tmp_path: Path, material: Path, published: str, rule: str, correct: int) -> None:  # noqa: F811
    """The whole way from the published file to the published figure."""
    rows = [json.loads(line) for line in (material / f"{published}.json").open(encoding="utf-8")]
    records = [
        {
            "id": row["question"]["problem_id"],
            "response": row["model_output"],
            "answer": row["ground_truth"],
            "options": row["question"]["options"],
        }
        for row in rows
    ]
    record = json.loads(run("eval", "score", write(tmp_path / "p.jsonl", *records), "--json", "--extract", rule).out)
    assert (record["n"], record["correct"], record["unreadable"]) == (625, correct, 0)
    assert record["accuracy"] == {411: 65.76, 409: 65.44}[correct]


def test_without_a_command_there_is_help(run: Run) -> None:  # noqa: F811
    done = run("eval")
    assert done.code == 0 and "score" in done.out and done.err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nothing"], 2, "there is no benchmark nothing: use one of video-holmes"),
        (["video-holmes"], 2, "--videos is missing: give the folder that holds the videos of Video-Holmes"),
        (["video-holmes", "--videos", "/no/such", "--annotations", "/no.json"], 1, "no such file: /no.json"),
        (["jsonl:OWN", "--videos", "/no/such"], 1, "--videos /no/such: there is no such folder"),
        (["star", "--videos", "."], 2, "--annotations is missing"),
        (["star", "--videos", ".", "--annotations", "/no.json"], 1, "no such file: /no.json (the annotations of STAR"),
        (["jsonl:/no.jsonl"], 1, "/no.jsonl"),
        (["shapes", "--frames", "16,x"], 2, "--frames 16,x: give a number, or several"),
        (["shapes", "--frames", "16", "--fps", "1"], 2, "exclude each other"),
        (["shapes", "--extract", "best"], 2, "--extract best"),
        (["shapes", "--prompt", "best", "--limit", "1"], 2, "--prompt best"),
        (["shapes", "--shard", "3/2"], 2, "--shard 3/2"),
    ],
)
def test_bad_runs(run: Run, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:  # noqa: F811
    pytest.importorskip("torch")
    record = {"id": 1, "video": "v", "question": "?", "answer": "A", "options": ["x", "y"]}
    words = [word.replace("OWN", write(tmp_path / "own.jsonl", record)) for word in arguments]
    done = run("eval", "run", *words, "-m", "tiny", "-o", str(tmp_path / "run"))
    assert (done.code, done.out) == (code, "") and done.err.startswith("vt: error: ") and says in done.err
    assert done.err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_list(run: Run) -> None:  # noqa: F811
    done = run("eval", "list")
    assert done.code == 0 and "video-holmes" in done.out and "description" in done.out
    records = json.loads(run("eval", "list", "--json").out)
    validate(records, "benchmarks")
    one = run("eval", "list", "video-holmes")
    assert "TencentARC/Video-Holmes" in one.out and "Video-Thinker-7B 43.22" in one.out
    assert run("eval", "list", "x").code == 2


def test_report_and_compare_of_nothing(run: Run, tmp_path: Path) -> None:  # noqa: F811
    done = run("eval", "report", str(tmp_path))
    assert done.code == 1 and "is no run: it has no run.json" in done.err
    done = run("eval", "compare", str(tmp_path), str(tmp_path))
    assert done.code == 1 and done.err.count("\n") == 1
