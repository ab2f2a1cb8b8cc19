# ruff: noqa: F811  # the fixture `run`
"""`vt batch` as it is installed: many videos, some of them broken, ended at any moment, and again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.batch.conftest import write_square
from tests.cli.conftest import Run, run  # noqa: F401  # a fixture
from tests.e2e.conftest import COMMAND, ROOT, validate
from vtcli.batch.output import Output

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("vt_home")

SHORT = ("--max-tokens", "4", "--temperature", "0")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five videos, of which two cannot be read, with names that are none of a terminal's business."""
    folder = tmp_path_factory.mktemp("videos")
    write_square(folder / "a.mp4", 0)
    (folder / "sub").mkdir()
    write_square(folder / "sub" / "two words.mp4", 60)
    odd = "\x1b]0;title\x07\n\udcff.mp4" if sys.platform == "linux" else "odd.mp4"
    write_square(folder / "c.mp4", 120).rename(folder / odd)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\xff" * 3000)
    (folder / "empty\x1b[2J.mkv" if os.name == "posix" else folder / "empty.mkv").touch()
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(path: Path) -> list[str]:
    return [Path(record["video"]["path"]).name for record in lines(path)]


def test_a_folder_with_broken_videos_and_again(run: Run, videos: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = ("batch", str(videos), "-q", "what moves?", "-o", str(output), "-m", str(random_checkpoint), *SHORT)
    done = run(*command)
    assert done.code == 3, done.err
    assert done.out == ""
    assert "\x1b" not in done.err
    first, *said, summary = done.err.splitlines()
    assert first == f"questions: 5; the answers go to {output}"
    assert len(said) == 2 and all(line.startswith("vt: warning: ") for line in said)
    assert summary == f"vt: answered: 3, in {output}; failed: 2, --retry-failed asks again"
    for record in lines(output):
        validate(record, "line")
        assert (record["answer"] is None) == (record["error"] is not None)
    assert names(output) == [*sorted(os.listdir(videos), key=lambda name: (name == "sub", name))[:-1], "two words.mp4"]
    assert "\x1b" not in output.read_text(encoding="utf-8")

    again = run(*command, "--json")
    assert again.code == 3
    summary = json.loads(again.out)
    validate(summary, "batch")
    assert {key: summary[key] for key in ("items", "answered", "failed", "resumed", "unread")} == {
        "items": 5, "answered": 3, "failed": 2, "resumed": 5, "unread": 0,
    }  # fmt: skip

    before = names(output)
    retried = run(*command, "--retry-failed")
    assert "3 of 5 questions are answered" in retried.err
    assert "2 to ask, 2 of them once more" in retried.err
    assert names(output) == before

    refused = run(*command[:-1], "0.5")
    assert refused.code == 1
    assert refused.err.startswith("vt: error: ")
    assert "temperature 0.0, here 0.5" in refused.err or "temperature 0, here 0.5" in refused.err


def test_a_file_of_questions_and_shards(run: Run, videos: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    good = [videos / "a.mp4", videos / "sub" / "two words.mp4"]
    rows = [
        {
            "video": str(video),
            "question": f"is it {n}?",
            "choices": ["yes", "no"],
            "id": f"{video.stem}-{n}",
            "gold": "A",
        }
        for n in range(2)
        for video in good
    ]
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for number, part in enumerate(parts, start=1):
        asked = ("--questions", str(questions), "-m", str(random_checkpoint), *SHORT, "--quiet")
        done = run("batch", *asked, "--shard", f"{number}/2", "-o", str(part))
        assert (done.code, done.out, done.err) == (0, "", "")
    whole = tmp_path / "whole.jsonl"
    assert run("batch", "--merge", *map(str, parts), "-o", str(whole)).code == 0
    assert [record["id"] for record in lines(whole)] == [row["id"] for row in rows]
    for record in lines(whole):
        validate(record, "line")
        assert record["choices"] == ["yes", "no"]
        assert record["extra"] == {"gold": "A"}


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.005)


def kill_until_done(
    command: tuple[str, ...], output: Path, total: int, kills: int, rng: random.Random, how: int = 9
) -> None:
    """Ends the run `kills` times, each time some answers further on, and holds what is there against before."""
    known: dict[str, dict[str, Any]] = {}
    for _ in range(kills):
        process = start(*command)
        wait_for_lines(output, len(known) + rng.randint(1, 3), process)
        time.sleep(rng.random() * 0.05)
        process.send_signal(how)
        process.communicate(timeout=60)
        whole = output.read_bytes().rpartition(b"\n")[0].splitlines() if output.exists() else []
        found = {record["id"]: record for record in map(json.loads, whole)}
        assert len(found) == len(whole)
        assert all(found[id] == record for id, record in known.items())
        known = found
    last = start(*command)
    _, words = last.communicate(timeout=300)
    assert last.returncode == 0, words
    records = {record["id"]: record for record in lines(output)}
    assert len(records) == len(lines(output)) == total
    assert all(records[id] == record for id, record in known.items())


def ask_of_each(tmp_path: Path, count: int) -> tuple[str, ...]:
    """A question about each of `count` clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(count):
        write_square(folder / f"{number:02}.mp4", 5 * number)
    return ("batch", str(folder), "-q", "what moves?", "-o", str(tmp_path / "out.jsonl"))


def test_killed_and_again_nothing_is_lost_or_doubled(random_checkpoint: Path, tmp_path: Path) -> None:
    command = (*ask_of_each(tmp_path, 12), "-m", str(random_checkpoint), *SHORT)
    kill_until_done(command, tmp_path / "out.jsonl", 12, kills=2, rng=random.Random(1))
    assert names(tmp_path / "out.jsonl") == [f"{number:02}.mp4" for number in range(12)]


@pytest.mark.slow
def test_killed_many_times_with_the_embedded_model(tiny: str, tmp_path: Path) -> None:
    command = (*ask_of_each(tmp_path, 40), "-q", "who?", "-m", tiny, "--seed", "1")
    kill_until_done(command, tmp_path / "out.jsonl", 80, kills=25, rng=random.Random(2))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ended_politely_many_times(random_checkpoint: Path, tmp_path: Path, how: int) -> None:
    command = (*ask_of_each(tmp_path, 40), "-m", str(random_checkpoint), *SHORT)
    kill_until_done(command, tmp_path / "out.jsonl", 40, kills=12, rng=random.Random(3), how=how)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as POSIX has it")
def test_ctrl_c_keeps_what_is_there_and_leaves_no_process(random_checkpoint: Path, tmp_path: Path) -> None:
    import psutil

    output = tmp_path / "out.jsonl"
    command = (*ask_of_each(tmp_path, 12), "-m", str(random_checkpoint), "--max-tokens", "400")
    process = start(*command, start_new_session=True)
    wait_for_lines(output, 1, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert "Traceback" not in words
    kept = len(lines(output))
    assert 1 <= kept < 12
    # A line that was just written when Ctrl-C came is not counted yet.
    ends = [
        f"vt: interrupted; {n} of 12 questions are answered in {output}, the same command goes on"
        for n in (kept, kept - 1)
    ]
    assert words.splitlines()[-1] in ends
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_full_disk_ends_the_run_and_loses_nothing(run: Run, random_checkpoint: Path, tmp_path: Path) -> None:
    import resource

    output = tmp_path / "out.jsonl"
    command = (*ask_of_each(tmp_path, 4), "-m", str(random_checkpoint), *SHORT)
    limit = 3000  # bytes, of which a line takes about 1,200
    process = start(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, words = process.communicate(timeout=120)
    assert process.returncode == 1, words
    assert "Traceback" not in words
    kept = len(lines(output))
    assert 1 <= kept < 4
    last = words.splitlines()[-1]
    assert last == f"vt: error: {output} cannot be written: File too large; the {kept} answers in it are kept"
    assert run(*command).code == 0
    assert len(lines(output)) == 4


def test_two_runs_into_one_file_are_refused(run: Run, videos: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    other = Output(output)
    done = run("batch", str(videos), "-q", "what?", "-o", str(output), "-m", str(random_checkpoint))
    other.close()
    assert done.code == 1
    assert done.err == f"vt: error: {output} is being written by another run: wait for it, or give another --output\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("v.mp4", "-q", "why?"), 2, "Missing option '--output' / '-o'"),
        (("v.mp4",), 2, "give --question TEXT or --questions FILE"),
        (("v.mp4", "-q", "why?", "--questions", "q.csv"), 2, "not both"),
        (("-q", "why?"), 2, "no SOURCE"),
        (("v.mp4", "-q", " "), 2, "the question is empty"),
        (("v.mp4", "-q", "why?", "-c", "x"), 2, "one choice only"),
        (("v.mp4", "--questions", "q.csv", "-c", "x"), 2, "--choice goes with --question"),
        (("v.mp4", "-q", "why?", "--shard", "0/2"), 2, "--shard 0/2"),
        (("v.mp4", "-q", "why?", "--shard", "x"), 2, "--shard x: write it as 1/4"),
        (("v.mp4", "-q", "why?", "--gaps"), 2, "--gaps goes with --merge"),
        (("v.mp4", "-q", "why?", "--frames", "8", "--fps", "1"), 2, "exclude each other"),
        (("v.mp4", "-q", "why?", "--frames", "0"), 2, "--frames must be 1 or more"),
        (("v.mp4", "-q", "why?", "--start", "5", "--end", "2"), 2, "must come after --start"),
        (("v.mp4", "-q", "why?", "--max-pixels", "9"), 2, "--max-pixels must be"),
        (("v.mp4", "-q", "why?", "--reader", "decord"), 1, "decord"),
        (("v.mp4", "-q", "why?", "--engine", "openai"), 1, "is not in this version"),
        (("http://host/v.mp4", "-q", "why?", "--offline"), 2, "--offline and a video on a server"),
        (("x.jsonl", "--merge", "-q", "why?"), 2, "--merge puts outputs together"),
        (("none.jsonl", "--merge"), 1, "none.jsonl cannot be opened"),
        (("@none.txt", "-q", "why?"), 2, "@none.txt cannot be read"),
        (("*.mp4", "-q", "why?"), 2, "nothing has such a name"),
    ],
)
def test_wrong_usage_is_one_line(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = () if "Missing" in said else ("-o", "out.jsonl")
    done = run("batch", *arguments, *output, *(() if "--merge" in arguments else ("-m", "tiny")))
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_help_needs_no_torch() -> None:
    code = """if True:
        import sys
        from vtcli.__main__ import run
        run(["batch", "--help"])
        print({"torch", "numpy", "av", "vtcli.ask"} & {*sys.modules})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set()"
