"""The output file: whole lines, one writer, nothing else touched; ended at any moment, full, or damaged."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtcli.batch.merge import merge
from vtcli.batch.output import OPENING, Output
from vtcli.errors import UsageError, VtError

ROOT = Path(__file__).resolve().parents[2]


def record(id: str, error: bool = False, size: int = 10) -> dict[str, Any]:
    failure = {"type": "VideoError", "message": "no"} if error else None
    return {"schema": "vt.answer/1", "id": id, "text": "x" * size, "error": failure}


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def write(path: Path, *records: dict[str, Any]) -> bytes:
    output = Output(path)
    list(output.read())
    for each in records:
        output.append(each)
    output.close()
    return path.read_bytes()


def test_a_line_cut_at_any_byte_goes_and_no_other(path: Path) -> None:
    whole = write(path, record("a"), record("b\n\x1b\udcff"))
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        output = Output(path)
        read = [each["id"] for _, each in output.read()]
        complete = cut == len(whole) - 1  # only its newline is missing
        assert read == (["a", "b\n\x1b\udcff"] if complete else ["a"])
        output.append(record("c"))
        output.close()
        assert ids(path) == [*read, "c"]


def test_a_tail_of_zeros_as_a_power_cut_leaves_it_goes(path: Path) -> None:
    whole = write(path, record("a"))
    path.write_bytes(whole + b"\0" * 4096)
    write(path, record("b"))
    assert ids(path) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        b"my notes",
        b"my notes\n",
        b'{"id": 1}\n',
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 100_000,
        OPENING + b'"a"',
        b'{"schema": "vt.answer/1", "id": 5}\n',
    ],
)
def test_a_file_that_is_something_else_is_refused_and_kept(path: Path, content: bytes) -> None:
    kept = content if content != OPENING + b'"a"' else content + b"\n" + content
    path.write_bytes(kept)
    output = Output(path)
    with pytest.raises(VtError, match="line 1: this is no line of a run"):
        list(output.read())
    output.close()
    assert path.read_bytes() == kept


def test_two_lines_of_one_id_are_refused(path: Path) -> None:
    whole = write(path, record("a"))
    path.write_bytes(whole + whole)
    with pytest.raises(VtError, match="line 2: a second answer of the id a"):
        list(Output(path).read())


def test_order_and_failures(path: Path) -> None:
    write(path, record("c"), record("a", error=True), record("b"))
    path.chmod(0o640)
    output = Output(path)
    list(output.read())
    assert output.put_in_order(["a", "b", "c"]) is None
    assert ids(path) == ["a", "b", "c"]
    with pytest.raises(VtError, match="being written by another run"):
        Output(path)  # the lock went along
    assert output.drop_failed() == 1
    output.append(record("d"))
    output.close()
    assert ids(path) == ["b", "c", "d"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.symlink_to(elsewhere / "real.jsonl")
    output = Output(path)
    for id in "ba":
        output.append(record(id))
    output.put_in_order("ab")
    output.close()
    assert path.is_symlink()
    assert ids(elsewhere / "real.jsonl") == ["a", "b"]


def test_a_file_that_is_taken_away_is_noticed(path: Path) -> None:
    output = Output(path)
    output.append(record("a"))
    path.rename(path.with_name("moved"))
    with pytest.raises(VtError, match="was removed or replaced"):
        output.append(record("b"))


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(VtError, match="Is a directory"):
        Output(tmp_path)
    with pytest.raises(VtError, match="No such file"):
        Output(tmp_path / "none" / "out.jsonl")
    with pytest.raises(VtError, match="is no file that a run could go on with"):
        Output(Path(os.devnull))


def test_a_line_after_which_ctrl_c_came_at_once_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(path)

    def pressed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "_sync", pressed)
    with pytest.raises(KeyboardInterrupt):
        output.append(record("a"))
    output.close()
    assert ids(path) == ["a"]


def test_what_a_killed_run_left_beside_the_file_goes(path: Path) -> None:
    others = [".other.jsonl.x7k2_abc.part", ".out.jsonl.1.x7k2_abc.part", ".out.jsonl.notes.part"]
    for name in (".out.jsonl.x7k2_abc.part", *others):
        path.with_name(name).touch()
    Output(path).close()
    assert sorted(file.name for file in path.parent.iterdir() if file.suffix == ".part") == others


def test_what_a_run_killed_while_rewriting_leaves_goes(path: Path) -> None:
    killed = script(
        """
        import os, sys
        from pathlib import Path
        from vtcli.batch.output import Output
        from tests.batch.test_output import record
        output = Output(Path(sys.argv[1]))
        for id in "ba":
            output.append(record(id))
        os.replace = lambda *_: os._exit(0)
        output.put_in_order("ab")
        """,
        str(path),
    )
    assert killed.communicate(timeout=60) == ("", "")
    assert len(list(path.parent.glob(".*.part"))) == 1
    Output(path).close()
    assert list(path.parent.glob(".*.part")) == []
    assert ids(path) == ["b", "a"]


def write_shards(folder: Path) -> list[Path]:
    """The outputs of two shards, with two items each: a, c and b, d."""
    parts = [folder / "1.jsonl", folder / "2.jsonl"]
    for index, (part, names) in enumerate(zip(parts, ("ac", "bd"), strict=True), start=1):
        place = {"index": index, "count": 2, "items": 4, "list": "digest"}
        write(part, *(record(id) | {"shard": {**place, "item": "abcd".index(id)}} for id in names))
    return parts


def test_a_merge_holds_the_lock_of_the_file_it_writes(path: Path) -> None:
    refused: list[bool] = []

    class Watched(list[Path]):
        """Tries to open the merge's output whenever the merge goes to the next part."""

        def __iter__(self) -> Iterator[Path]:
            for part in super().__iter__():
                try:
                    Output(path).close()
                except VtError:
                    refused.append(True)
                else:
                    refused.append(False)
                yield part

    parts = write_shards(path.parent)
    merge(Watched(parts), path)
    assert refused[-2:] == [True, True]
    assert ids(path) == list("abcd")
    Output(path).close()


def test_a_merge_refuses_a_file_that_a_run_writes(path: Path) -> None:
    parts = write_shards(path.parent)
    output = Output(path)
    with pytest.raises(VtError, match="being written by another run"):
        merge(parts, path)
    output.append(record("x"))
    output.close()
    with pytest.raises(UsageError, match="exists"):
        merge(parts, path)
    assert ids(path) == ["x"]


def test_a_merge_that_was_killed_can_be_done_again(path: Path) -> None:
    parts = write_shards(path.parent)
    killed = script(
        """
        import os, sys
        from pathlib import Path
        from vtcli.batch.merge import merge
        os.replace = lambda *_: os._exit(0)
        merge([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
        """,
        str(path),
        *map(str, parts),
    )
    assert killed.communicate(timeout=60) == ("", "")
    assert len(list(path.parent.glob(".*.part"))) == 1
    assert merge(parts, path).lines == 4
    assert ids(path) == list("abcd")
    assert list(path.parent.glob(".*.part")) == []


def test_a_merge_puts_the_opening_of_a_line_first_however_another_tool_has_ordered_its_keys(path: Path) -> None:
    parts = write_shards(path.parent)
    for part in parts:
        sorted_keys = [json.dumps(json.loads(line), sort_keys=True) for line in part.read_text().splitlines()]
        part.write_text("".join(f"{line}\n" for line in sorted_keys))
    merge(parts, path)
    assert ids(path) == list("abcd")
    assert all(line.startswith(OPENING) for line in path.read_bytes().splitlines())


def test_a_merge_that_is_refused_leaves_nothing(path: Path) -> None:
    parts = write_shards(path.parent)
    with pytest.raises(VtError, match="2 of 4 items"):
        merge(parts[:1], path)
    assert sorted(path.parent.iterdir()) == parts


def test_nothing_is_left_where_nothing_was_written(path: Path) -> None:
    Output(path).close()
    assert not path.exists()


def script(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_disk_that_is_full_keeps_every_whole_line(path: Path) -> None:
    limited = script(
        """
        import resource, sys
        from pathlib import Path
        from vtcli.batch.output import Output
        from tests.batch.test_output import record
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        output = Output(Path(sys.argv[1]))
        for number in range(100):
            output.append(record(str(number), size=700))
        """,
        str(path),
    )
    _, words = limited.communicate(timeout=60)
    assert "File too large; the 6 answers in it are kept" in words
    assert ids(path) == list("012345")
    write(path, record("6"))
    assert ids(path) == list("0123456")


WRITER = """
    import itertools, random, sys
    from pathlib import Path
    from vtcli.batch.output import Output
    from tests.batch.test_output import record

    output = Output(Path(sys.argv[1]))
    order = [str(number) for number in range(300)]
    for _, each in output.read():
        assert each["text"] == record(each["id"], size=20000)["text"]
    print("open", flush=True)
    while len(output.lines) < len(order):
        for id in random.sample(order, len(order)):
            if id not in output.lines:
                output.append(record(id, error=random.random() < 0.1, size=20000))
    for _ in range(10) if sys.argv[2] == "to the end" else itertools.count():
        output.put_in_order(random.sample(order, len(order)))
    output.put_in_order(order)
    output.close()
    print("done", flush=True)
    """


KILLS = 10


def test_killed_at_any_moment_nothing_is_lost_or_doubled(path: Path) -> None:
    rng = random.Random(20)
    known: set[str] = set()
    for _ in range(KILLS):
        writer = script(WRITER, str(path), "until it is killed")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n", writer.communicate()
        time.sleep(rng.random() * 0.12)
        writer.send_signal(signal.SIGKILL)
        assert writer.communicate(timeout=60) == ("", "")
        found = [json.loads(line)["id"] for line in path.read_bytes().splitlines()[:-1]]
        assert len(found) == len(set(found))
        assert known <= {*found, *_last(path)}
        known |= set(found)
    assert script(WRITER, str(path), "to the end").communicate(timeout=60) == ("open\ndone\n", "")
    assert ids(path) == [str(number) for number in range(300)]
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".part"] == []


def _last(path: Path) -> list[str]:
    """The last line's id, where it is whole."""
    last = path.read_bytes().splitlines()[-1:]
    try:
        return [json.loads(line)["id"] for line in last]
    except ValueError:
        return []


@pytest.mark.parametrize(("written", "kept"), [(1.0, ["a"]), (0.5, []), (0.0, [])])
def test_ctrl_c_within_a_line_leaves_it_whole_or_not_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: float, kept: list[str]
) -> None:
    def interrupted(file: int, data: bytes) -> None:
        os.write(file, data[: int(written * len(data))])
        raise KeyboardInterrupt

    output = Output(path)
    with monkeypatch.context() as patch:
        patch.setattr("vtcli.batch.output._write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            output.append(record("a"))
    assert list(output.lines) == kept
    output.close()
    assert (ids(path) if path.exists() else []) == kept
