"""`vt eval score` on 100,000 predictions: wall time of the whole command by kind of reply (bar: 10 s), and processor
time, which other work on the machine affects less.

    python benchmarks/eval_score.py [--n 100000] [--rules strict]

Replies are synthetic, with the length and markup of real ones: a bare letter, Video-R1's two tags (800 characters) and
Video-Thinker's trace of three segments (1,400 characters) with true times to score. Runs alternate between the kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the man then walks to a red door and opens it while another waits near the table with two cups"
WORDS = TEXT.split()


def prose(rng: random.Random, characters: int) -> str:
    """Returns random words of about that many characters."""
    return " ".join(rng.choice(WORDS) for _ in range(characters // 5))


def reply(kind: str, rng: random.Random) -> str:
    letter = rng.choice("ABCDE")
    if kind == "letters":
        return letter
    if kind == "think":
        return f"<think>\n{prose(rng, 740)}\n</think>\n<answer>{letter}</answer>"
    blocks = [
        f"<time>00:{start:02}-00:{start + 9:02}</time> <caption>{prose(rng, 160)}</caption> "
        f"<think>{prose(rng, 160)}</think>"
        for start in (0, 10, 20)
    ]
    return f"Let me watch. {' Hmm. '.join(blocks)} {prose(rng, 200)} The answer is {letter}. <answer>{letter}</answer>"


def write(kind: str, n: int, path: Path) -> None:
    rng = random.Random(kind)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(n):
            record = {
                "id": number,
                "response": reply(kind, rng),
                "answer": rng.choice("ABCDE"),
                "options": [f"{letter}. {prose(rng, 25)} {number}" for letter in "ABCDE"],
                "category": f"category {number % 27}",
            }
            if kind == "traces":
                record["times"] = [[5.0, 12.5]]
            file.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rules", nargs="+", default=["strict"])
    options = parser.parse_args()
    kinds = ("letters", "think", "traces")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    worked: dict[str, list[float]] = {kind: [] for kind in kinds}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"{kind}.jsonl" for kind in kinds}
        for kind in kinds:
            write(kind, options.n, files[kind])
        for _ in range(options.runs):
            for kind in kinds:
                command = [sys.executable, "-m", "vtcli", "eval", "score", str(files[kind]), "--json"]
                command += [word for rule in options.rules for word in ("--extract", rule)]
                begin, before = time.perf_counter(), _processor_seconds()
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
                seconds[kind].append(time.perf_counter() - begin)
                worked[kind].append(_processor_seconds() - before)
        print(f"{options.n:,} predictions, {' '.join(options.rules)}, median of {options.runs} runs\n")
        print("| replies | MB | seconds | of the runs | of processor time, least |\n|---|---|---|---|---|")
        for kind in kinds:
            runs = " ".join(f"{run:.1f}" for run in seconds[kind])
            size = files[kind].stat().st_size / 1e6
            print(
                f"| {kind} | {size:.0f} | {statistics.median(seconds[kind]):.1f} | {runs} | {min(worked[kind]):.1f} |"
            )


def _processor_seconds() -> float:
    """Returns the processor time of all finished child processes."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
