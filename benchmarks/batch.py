"""What `vt batch` costs over the engine alone, and what it saves over asking one by one.

    python benchmarks/batch.py             # the embedded model, on clips of moving shapes
    python benchmarks/batch.py --loop      # also against a shell loop of `vt ask`, which takes minutes

Three ways alternate in one process with an open model: the engine alone, on frames that were read before; the runner,
which reads ahead and writes its lines; and a plain loop, which reads each question's video when it is asked and keeps
nothing of it. "CPU" is this process's own time, without the processes that read. "outside" is the share of the time in
which the engine was not at work, by its own clock; it depends less on what else the machine does. The runner's wait for
the first clip is shown but not counted: while a model is still to be loaded, the clip is read meanwhile. All figures
are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from _compare import VT
from rich.console import Console
from rich.table import Table

from vtcli.ask import Question, lay_out, make_plan, read, reply
from vtcli.batch.items import Item, content_id, in_turn
from vtcli.batch.reading import ReadAhead
from vtcli.batch.run import Batch
from vtcli.engines.base import Request, SamplingOptions, StreamStats
from vtcli.session import Session
from vtcli.shapes.questions import questions
from vtcli.shapes.render import write_clip
from vtcli.shapes.world import make_scene, split_seed
from vtcli.video.guard import Guard
from vtcli.video.source import resolve

BAR = 1.03
Way = Callable[[], tuple[float, float]]
"""Does everything once; returns the seconds that do not count, and those the engine worked."""


def make_items(folder: Path, model: str, clips: int, each: int) -> list[Item]:
    """Makes `each` questions about each of `clips` clips, to be answered greedily."""
    items = []
    for number in range(clips):
        scene = make_scene(split_seed("test", number), duration=8.0, fps=25.0)
        path = folder / f"{number}.mp4"
        write_clip(scene, path)
        for asked in questions(scene)[:each]:
            question = Question(path, asked.text, model, sampling=SamplingOptions(temperature=0))
            items.append(Item(content_id(question), question))
    return items


def worked(stats: StreamStats) -> float:
    return stats.encode + stats.prefill + stats.generate


def engine_alone(items: list[Item], session: Session) -> Way:
    requests: list[Request] = []
    with ReadAhead(in_turn(items), session.checkpoint, session.tokenizer) as reads:
        for clip in reads:
            assert clip.plan is not None and clip.frames is not None
            requests += [lay_out(clip.plan.asking(item.question), clip.frames) for item in clip.clip.items]

    def run() -> tuple[float, float]:
        return 0.0, sum(worked(reply(session.engine, request)[1]) for request in requests)

    return run


def runner(items: list[Item], session: Session, folder: Path) -> Way:
    def run() -> tuple[float, float]:
        output = folder / "out.jsonl"
        output.unlink(missing_ok=True)
        with Batch(items, session, output) as batch:
            records = list(batch)
        assert all(record["error"] is None for record in records)
        engine = [sum(record["timing"][part] for part in ("encode", "prefill", "generate")) for record in records]
        return records[0]["timing"]["total"] - engine[0], sum(engine)

    return run


def plain_loop(items: list[Item], session: Session) -> Way:
    def run() -> tuple[float, float]:
        seconds = 0.0
        with Guard() as guard:
            for item in items:
                with resolve(item.question.video) as source:
                    plan = make_plan(item.question, source, session.checkpoint, session.tokenizer, guard)
                    _, request = read(plan, guard)
                session.engine._recall.forget()  # type: ignore[attr-defined]  # as a new process would
                seconds += worked(reply(session.engine, request)[1])
        return 0.0, seconds

    return run


def measure(ways: dict[str, Way], runs: int) -> dict[str, list[float]]:
    """Returns for each way wall and CPU seconds, the seconds that do not count, and the share outside the engine.

    The first run does not count.
    """
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            aside, engine = way()
            elapsed = time.perf_counter() - wall - aside
            if number:
                found[name].append((elapsed, time.process_time() - cpu, aside, 1 - engine / elapsed))
    return {name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in found.items()}


def shell_loop(items: list[Item], folder: Path, runs: int) -> tuple[float, float]:
    """Returns seconds of `vt batch` and of one `vt ask` per question, as whole processes that alternate."""
    model = str(items[0].question.model)
    rows = folder / "questions.csv"
    rows.write_text("video,question\n" + "".join(f'{i.question.video},"{i.question.question}"\n' for i in items))
    both: list[tuple[float, float]] = []
    for number in range(runs):
        environment = {**os.environ, "VT_HOME": str(folder / f"home{number}")}  # starts with an empty cache
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        begin = time.perf_counter()
        output = folder / f"out{number}.jsonl"
        flags = ["-m", model, "--temperature", "0", "--quiet"]
        subprocess.run([VT, "batch", "--questions", str(rows), "-o", str(output), *flags], env=environment, check=True)
        middle = time.perf_counter()
        for item in items:
            asked = [str(item.question.video), item.question.question]
            subprocess.run([VT, "ask", *asked, *flags], env=environment, check=True, stdout=subprocess.DEVNULL)
        both.append((middle - begin, time.perf_counter() - middle))
    return statistics.median(a for a, _ in both), statistics.median(b for _, b in both)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--questions", type=int, default=3, help="about each clip")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loop", action="store_true", help="also against a shell loop of vt ask")
    options = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = make_items(folder, options.model, options.clips, options.questions)
        with Session(replace(items[0].question, store=None)) as session:
            session.wait()
            ways = {
                "engine alone": engine_alone(items, session),
                "vt batch's runner": runner(items, session, folder),
                "plain loop": plain_loop(items, session),
            }
            found = measure(ways, options.runs)
        title = f"{len(items)} questions about {options.clips} clips, {options.runs} alternating runs"
        table = Table("", "wall s", "of engine", "CPU s", "of engine", "outside", "first clip s", title=title)
        wall, cpu, *_ = found["engine alone"]
        for who, (its_wall, its_cpu, aside, outside) in found.items():
            ratios = f"{its_wall / wall:.3f}", f"{its_cpu / cpu:.3f}"
            shares = f"{outside:.1%}", f"{aside:.2f}"
            table.add_row(who, f"{its_wall:.2f}", ratios[0], f"{its_cpu:.2f}", ratios[1], *shares)
        ratio = found["vt batch's runner"][0] / wall
        console.print(table, f"runner over engine {ratio:.3f}, bar {BAR}: {'met' if ratio <= BAR else 'MISSED'}")
        if options.loop:
            ours, theirs = shell_loop(items, folder, max(1, options.runs // 2))
            console.print(
                f"whole processes: vt batch {ours:.1f} s, a loop of vt ask {theirs:.1f} s, {theirs / ours:.1f} times"
            )
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
