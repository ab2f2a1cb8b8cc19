"""`vt ask` as it is installed, on a real file with a random checkpoint: streams, records, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, ROOT, Vt, validate
from vtcli.trace.text import sanitise

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("vt_home")

SHORT = ("--max-tokens", "24", "--temperature", "0")


@pytest.fixture
def random(random_checkpoint: Path) -> str:
    return str(random_checkpoint)


def test_the_answer_is_all_there_is_on_stdout(vt: Vt, clip: Path, random: str) -> None:
    done = vt("ask", str(clip), "what moves?", "-m", random, *SHORT)
    assert done.returncode == 0, done.stderr
    assert "vt: warning: the output was cut at 24 tokens" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    record = json.loads(vt("ask", str(clip), "what moves?", "-m", random, *SHORT, "--json", "-q").stdout)
    assert done.stdout.rstrip("\n") == sanitise(record["answer"])


def test_the_record_is_as_documented(vt: Vt, clip: Path, random: str) -> None:
    done = vt("ask", str(clip), "what moves?", "-m", random, *SHORT, "--json")
    record = json.loads(done.stdout)
    validate(record, "answer")
    assert list(record) == [
        *("schema", "video", "question", "choices", "answer", "choice", "segments", "reasoning", "text", "format_ok"),
        *("finish", "model", "sampling", "usage", "timing", "warnings", "error"),
    ]
    assert record["video"] | {"path": ""} == {
        "path": "", "duration": 8.0, "fps": 10.0, "width": 96, "height": 64, "frames": 80,
    }  # fmt: skip
    assert record["finish"] == "length"
    assert record["usage"]["completion_tokens"] == 24
    assert record["sampling"]["frames"] == 16 == len(record["sampling"]["times"])
    assert record["sampling"]["second_per_grid"] == 1.0
    assert record["model"]["dtype"] == "float32"


def test_quiet_leaves_stderr_empty(vt: Vt, clip: Path, random: str) -> None:
    done = vt("ask", str(clip), "what moves?", "-m", random, *SHORT, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_the_same_question_gets_the_same_answer(vt: Vt, clip: Path, random: str) -> None:
    runs = [vt("ask", str(clip), "what?", "-m", random, "--max-tokens", "16", "--seed", "7", "-q") for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != ""


def test_the_dry_run_shows_what_the_model_would_be_shown(vt: Vt, clip: Path, random: str) -> None:
    arguments = ("ask", str(clip), "what moves?", "-m", random, "-c", "a square", "-c", "nothing")
    done = vt(*arguments, "--dry-run", "--json")
    plan = json.loads(done.stdout)
    validate(plan, "plan")
    assert "what moves?\nOptions:\nA. a square\nB. nothing\n" in plan["prompt"]
    ids, positions = plan["layout"]["input_ids"], plan["layout"]["positions"]
    assert [len(row) for row in positions] == [len(ids)] * 3
    record = json.loads(vt(*arguments, *SHORT, "--json").stdout)
    assert record["sampling"] == plan["sampling"]
    assert record["usage"]["prompt_tokens"] == len(ids)
    assert record["usage"]["video_tokens"] == plan["layout"]["video_tokens"]
    assert sum(size for part, size in plan["memory"].items() if part != "total") == plan["memory"]["total"]


def test_the_dry_run_loads_neither_torch_nor_weights(vt: Vt, clip: Path, random: str) -> None:
    done = vt("ask", str(clip), "what?", "-m", random, "--dry-run", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "vtcli.layout" in imported
    assert not {"torch", "transformers"} & imported


def test_times_of_a_window_are_times_of_the_file(vt: Vt, clip: Path, random: str) -> None:
    done = vt("ask", str(clip), "what?", "-m", random, "--start", "0:02", "--end", "6", "--dry-run", "--json")
    sampling = json.loads(done.stdout)["sampling"]
    assert sampling["times"][0] == pytest.approx(2.0)
    assert sampling["times"][-1] <= 6.0


def test_environment_and_config_file_name_the_model(vt: Vt, clip: Path, random: str, vt_home: Path) -> None:
    missing = vt("ask", str(clip), "what?", "--dry-run")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1
    assert "-m DIR" in missing.stderr
    assert vt("ask", str(clip), "what?", "--dry-run", env={"VT_MODEL": random}).returncode == 0
    vt_home.mkdir()
    (vt_home / "config.toml").write_text(f"model = {json.dumps(random)}\n", encoding="utf-8")
    assert vt("ask", str(clip), "what?", "--dry-run").returncode == 0
    wrong = vt("ask", str(clip), "what?", "--dry-run", env={"VT_MODEL": "no-such-folder"})
    assert wrong.returncode == 1
    assert "no-such-folder" in wrong.stderr


def test_what_is_not_in_this_version_says_so(vt: Vt, clip: Path, random: str) -> None:
    for flags in (("--engine", "openai"), ("--endpoint", "http://127.0.0.1:1"), ("--html", "x.html")):
        done = vt("ask", str(clip), "what?", "-m", random, *flags)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "not in this version" in done.stderr


def test_a_reader_that_stops_listening_is_no_error(clip: Path, random: str) -> None:
    command = [*COMMAND, "ask", str(clip), "what?", "-m", random, "--dry-run", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
