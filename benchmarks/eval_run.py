"""What `vt eval run` adds to the engine: time between answers against the time the engine took for them. Bar: 3 %.

    python benchmarks/eval_run.py [--limit 60]

Runs the embedded model on clips of shapes, in this process. This is the hardest case: its answers take a fraction of a
second. The first answer, which waits for the model and the first clip, does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from vtcli.ask import Question
from vtcli.engines.base import SamplingOptions
from vtcli.evals.running import Settings, answer_all, open_batch, source
from vtcli.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    question = Question("", "", "tiny", sampling=SamplingOptions(temperature=0, seed=0))
    print("| answers | seconds between them | seconds of the engine | more |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        found = source("shapes", None, Path(folder) / "clips", options.limit, Path(folder))
        for number in range(options.runs):
            settings = Settings(question)
            place = Path(folder) / f"run{number}"
            with Session(question) as session, open_batch(place, found, settings, session) as running:
                begin, engine, answers = 0.0, 0.0, 0
                for progress in answer_all(running, settings, print):
                    timing = progress.record["timing"]
                    if begin:
                        engine += timing["encode"] + timing["prefill"] + timing["generate"]
                        answers += 1
                    begin = begin or time.perf_counter()
                wall = time.perf_counter() - begin
            print(f"| {answers} | {wall:.2f} | {engine:.2f} | {100 * (wall / engine - 1):+.1f} % |")


if __name__ == "__main__":
    main()
