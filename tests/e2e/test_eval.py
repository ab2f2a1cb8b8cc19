"""`vt eval run` on the real `tiny` model: what is counted, what is kept, and that `kill -9` costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import COMMAND, ROOT, Vt, clip, demo_clip, tiny, validate, vt  # noqa: F401  # fixtures

SHORT = ("-m", "tiny", "--max-tokens", "12", "--temperature", "0")


def questions(folder: Path, clip: Path, *videos: str) -> str:  # noqa: F811
    """A file of one's own questions, a clip for each that is called clip*, and its name for the command."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number, video in enumerate(videos):
        if video.startswith("clip") and not (folder / video).exists():
            shutil.copy(clip, folder / video)
        record = {
            "id": f"q{number}", "video": video, "question": f"What happens, {number}?", "answer": "two",
            "options": ["one", "two"], "category": "odd" if number % 2 else "even",
        }  # fmt: skip
        lines.append(json.dumps(record | ({"times": [[0, 2]]} if number == 0 else {})))
    (folder / "own.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return f"jsonl:{folder / 'own.jsonl'}"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text("utf-8").splitlines()]


def test_missing_and_broken_videos_are_counted_and_nothing_is_asked_twice(vt: Vt, tmp_path: Path, clip: Path) -> None:  # noqa: F811
    own = questions(tmp_path / "set", clip, "clip.mp4", "no.mp4", "broken.mp4", "clip.mp4")
    (tmp_path / "set" / "broken.mp4").write_bytes(b"no video")
    run = tmp_path / "run"
    done = vt("eval", "run", own, *SHORT, "-o", str(run), "--frames", "4,8", "--json")
    report = json.loads(done.stdout)
    validate(report, "report")
    assert done.returncode == 3, done.stderr
    for setting, frames in zip(report["settings"], (4, 8), strict=True):
        assert [setting[name] for name in ("frames", "asked", "missing", "failed", "unanswered")] == [
            frames,
            4,
            1,
            1,
            0,
        ]
        assert setting["score"]["n"] == 3 and setting["used"]["frames"] == {str(frames): 2}
        assert setting["score"]["grounding"]["n"] == 1 and setting["score"]["extract"] == "paper"
    assert {file.name for file in run.iterdir()} == {
        "run.json", "tasks.jsonl", "answers.jsonl", "predictions-4.jsonl", "predictions-8.jsonl", "scores.json",
        "report.md", "report.html",
    }  # fmt: skip
    assert [line["id"] for line in lines(run)] == [f"q{n}@{f}#0" for n in (0, 2, 3) for f in (4, 8)]
    assert all(line["question"] in line["extra"]["task"] or line["settings"] for line in lines(run))
    before = (run / "answers.jsonl").read_bytes()
    again = vt("eval", "run", own, *SHORT, "-o", str(run), "--frames", "8", "--json")
    assert (run / "answers.jsonl").read_bytes() == before and json.loads(again.stdout) == report
    score = vt("eval", "score", str(run / "predictions-8.jsonl"), "--json", "--extract", "paper")
    assert json.loads(score.stdout)["accuracy"] == report["settings"][1]["score"]["accuracy"]
    other = vt("eval", "run", own, *SHORT, "-o", str(run), "--prompt", "plain")
    assert other.returncode == 1 and "is another run: its prompt is" in other.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_goes_on_with_nothing_lost_or_doubled(vt: Vt, tmp_path: Path, clip: Path) -> None:  # noqa: F811
    own = questions(tmp_path / "set", clip, *(f"clip{n // 2}.mp4" for n in range(6)))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert vt("eval", "run", own, *SHORT, "-o", str(whole)).returncode == 0
    command = [*COMMAND, "eval", "run", own, *SHORT, "-o", str(killed)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    answers = killed / "answers.jsonl"
    while process.poll() is None and not (answers.exists() and answers.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = answers.read_bytes()
    done = vt("eval", "run", own, *SHORT, "-o", str(killed), "--json")
    assert done.returncode == 0, done.stderr
    assert answers.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert [(line["id"], line["text"]) for line in lines(killed)] == [
        (line["id"], line["text"]) for line in lines(whole)
    ]
    scores = [json.loads((folder / "scores.json").read_text())["settings"][0]["score"] for folder in (whole, killed)]
    assert scores[0] == scores[1]


def test_shards_share_a_folder(vt: Vt, tmp_path: Path, clip: Path) -> None:  # noqa: F811
    own = questions(tmp_path / "set", clip, "clip0.mp4", "clip1.mp4", "clip0.mp4")
    run = tmp_path / "run"
    half = vt("eval", "run", own, *SHORT, "-o", str(run), "--shard", "1/2", "--json")
    assert half.returncode == 0 and json.loads(half.stdout)["settings"][0]["unanswered"] == 1
    whole = vt("eval", "run", own, *SHORT, "-o", str(run), "--shard", "2/2", "--json")
    assert json.loads(whole.stdout)["settings"][0]["score"]["n"] == 3
    assert {file.name for file in run.glob("answers*")} == {"answers-1-of-2.jsonl", "answers-2-of-2.jsonl"}


def test_shapes_needs_nothing(vt: Vt, tmp_path: Path, tiny: str) -> None:  # noqa: F811
    run = tmp_path / "run"
    done = vt("eval", "run", "shapes", "-m", tiny, "--limit", "2", "-o", str(run))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("shapes: tiny\n16 frames: ") and "mIoU" in done.stdout
    report = json.loads((run / "scores.json").read_text())
    assert report["settings"][0]["score"]["format_ok"] == 100
    assert vt("eval", "compare", str(run), str(run), "--json").returncode == 0


def test_folders_of_pictures_are_asked_about_at_their_rate(vt: Vt, tmp_path: Path, clip: Path) -> None:  # noqa: F811
    """MVBench has TVQA's clips as pictures, three a second, beside files for its other tasks."""
    pictures = tmp_path / "video" / "tvqa" / "frames_fps3_hq" / "castle_1"
    pictures.mkdir(parents=True)
    assert vt("frames", str(clip), "-o", str(tmp_path / "frames"), "--frames", "12").returncode == 0
    for number, file in enumerate(sorted((tmp_path / "frames").glob("*s.png")), 1):
        shutil.move(file, pictures / f"{number:05}.png")
    shutil.rmtree(tmp_path / "frames")
    shutil.copy(clip, tmp_path / "video" / "clip.mp4")
    asked = {"question": "What happens?", "candidates": ["one", "two"], "answer": "two"}
    for name, record in (
        ("episodic_reasoning", asked | {"video": "castle_1", "start": 0.0, "end": 3.0, "fps": 3}),
        ("action_count", asked | {"video": "clip.mp4"}),
    ):
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps([record]), "utf-8")
    command = ("eval", "run", "mvbench", "--videos", str(tmp_path), *SHORT, "-o", str(tmp_path / "run"))
    refused = vt(*command, "--fps", "1")
    assert refused.returncode == 2 and "--fps does not choose among the pictures of a folder" in refused.stderr
    assert vt(*command, "--frames", "4").returncode == 0
    of_file, of_folder = lines(tmp_path / "run")
    assert of_folder["video"]["fps"] == 3 and of_folder["video"]["frames"] == 12
    assert of_folder["sampling"]["frames"] == 4 and of_folder["sampling"]["times"][-1] <= 3.0
    assert of_file["sampling"]["frames"] == 4 and of_file["video"]["path"].endswith("clip.mp4")
