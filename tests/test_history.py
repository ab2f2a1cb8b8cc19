"""The history: kept, found, bounded, private, removed, and never in the way of an answer."""

from __future__ import annotations

import copy
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT
from tests.test_schemas import ANSWER
from vtcli import history
from vtcli.errors import VtError
from vtcli.history import History


def record(question: str, answer: str = "left", path: str = "clip.mp4", text: str = "") -> dict[str, Any]:
    made = copy.deepcopy(ANSWER) | {"question": question, "answer": answer, "text": text}
    made["video"]["path"] = path
    return made


@pytest.fixture
def past(tmp_path: Path) -> History:
    return History(tmp_path / "data" / "history.db")


def test_what_is_kept_is_found(past: History) -> None:
    records = [
        record("Why did he leave?"),
        record("who?", "ÉLAN \udcff", path="a\udcff\x1b.mp4"),
        record("what?", text="<time>0-1</time> the RED cup"),
    ]
    for each in records:
        past.add(each)
    assert [entry.record for entry in past.latest(2)] == records[1:]
    assert past.get().record == records[2]
    assert past.get(1).record == records[0]
    assert [entry.id for entry in past.search(["élan"], 9)] == [2]
    assert [entry.id for entry in past.search(["red", "CUP"], 9)] == [3]
    assert [entry.id for entry in past.search(["%"], 9)] == []
    assert [entry.id for entry in past.search(["clip.mp4"], 1)] == [3]
    with pytest.raises(VtError, match="no answer 4"):
        past.get(4)


def test_nothing_is_there_before_anything_is_kept(past: History) -> None:
    assert past.latest(5) == past.search(["x"], 5) == []
    assert past.clear() == 0
    with pytest.raises(VtError, match="is empty"):
        past.get()
    assert not past.file.parent.exists()


def test_the_oldest_go_first(past: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 3)
    for number in range(5):
        past.add(record(str(number)))
    assert [entry.record["question"] for entry in past.latest(9)] == ["2", "3", "4"]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a working folder from being removed")
def test_an_answer_is_kept_where_the_working_folder_was_removed(
    past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    past.add(record("why?"))
    assert past.get().folder == ""


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_only_the_owner_may_read_it(past: History) -> None:
    past.add(record("why?"))
    assert past.file.stat().st_mode & 0o777 == 0o600


def test_what_is_cleared_is_gone_from_the_file(past: History) -> None:
    for _ in range(50):
        past.add(record("the secret question"))
    assert b"secret question" in past.file.read_bytes()
    assert past.clear() == 50
    assert b"secret question" not in past.file.read_bytes()
    past.add(record("next"))
    assert past.get().id == 51  # numbers are not used again


def test_several_processes_keep_at_once(past: History) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from tests.test_history import record
        from vtcli.history import History
        for number in range(20):
            History(Path(sys.argv[1])).add(record(f"{sys.argv[2]}-{number}"))
    """
    runs = [subprocess.Popen([sys.executable, "-c", code, str(past.file), str(n)], cwd=ROOT) for n in range(3)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    assert len({entry.record["question"] for entry in past.latest(100)}) == 60


def test_what_cannot_be_used_is_one_line(past: History, monkeypatch: pytest.MonkeyPatch) -> None:
    past.file.parent.mkdir()
    past.file.write_bytes(b"not a data base at all" * 100)
    with pytest.raises(VtError, match="cannot be used: file is not a database"):
        past.add(record("why?"))
    past.file.unlink()
    past.file.mkdir()
    with pytest.raises(VtError, match="cannot be used"):
        past.latest(1)
    past.file.rmdir()
    past.add(record("why?"))
    monkeypatch.setattr(history, "_WAIT", 0.05)
    with sqlite3.connect(past.file, check_same_thread=False) as other:
        other.execute("BEGIN EXCLUSIVE")
        failed: list[VtError] = []

        def add() -> None:
            try:
                past.add(record("why?"))
            except VtError as error:
                failed.append(error)

        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
    assert "database is locked" in str(failed[0])
