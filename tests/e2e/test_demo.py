"""`vt demo` and questions to the embedded model: these need models/tiny."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Vt, validate

Demo = tuple[Path, str, list[str]]


def test_demo_writes_a_clip_and_gets_an_answer(vt: Vt, tmp_path: Path, tiny: str) -> None:
    done = vt("demo")
    assert done.returncode == 0, done.stderr
    clip = tmp_path / "cwd" / "vt-demo.mp4"
    assert clip.stat().st_size > 1000
    assert "wrote vt-demo.mp4" in done.stderr
    assert "$ vt ask vt-demo.mp4 " in done.stderr
    assert "–" in done.stderr  # a range of times
    assert done.stdout.strip()
    assert "\n" not in done.stdout.strip()
    assert [file.name for file in clip.parent.iterdir()] == ["vt-demo.mp4"]


def test_demo_again_is_fine_but_another_file_is_kept(vt: Vt, tmp_path: Path, tiny: str) -> None:
    assert vt("demo", "-q").returncode == 0
    assert vt("demo", "-q").returncode == 0
    clip = tmp_path / "cwd" / "vt-demo.mp4"
    clip.write_bytes(b"holiday")
    refused = vt("demo")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert clip.read_bytes() == b"holiday"
    assert vt("demo", "--output", "other.mp4", "-q").returncode == 0
    assert vt("demo", "--yes", "-q").returncode == 0


def test_demo_where_nothing_can_be_written_is_one_line(vt: Vt) -> None:
    pytest.importorskip("vtcli.shapes.demo")
    done = vt("demo", "-o", "no/such/folder/clip.mp4")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_the_embedded_model_answers_in_format(vt: Vt, demo_clip: Demo, tiny: str) -> None:
    clip, question, choices = demo_clip
    flags = [word for choice in choices for word in ("-c", choice)]
    record = json.loads(vt("ask", str(clip), question, "-m", tiny, *flags, "--json", "-q").stdout)
    validate(record, "answer")
    assert record["format_ok"]
    assert record["finish"] == "stop"
    assert record["segments"]
    assert all(0 <= segment["start"] <= segment["end"] <= 10 for segment in record["segments"])
    if choices:
        assert record["answer"] == choices[ord(record["choice"]) - ord("A")]
    assert any(warning.startswith("tiny: ") for warning in record["warnings"])


def test_a_real_question_never_goes_to_the_embedded_model_by_itself(vt: Vt, demo_clip: Demo, tiny: str) -> None:
    done = vt("ask", str(demo_clip[0]), "why did he leave?")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no model is installed" in done.stderr
