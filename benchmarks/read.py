"""Reads 16 and 64 frames of a video, against decord, torchcodec, qwen-vl-utils and PyAV from the beginning.

    python benchmarks/read.py --peers .venv-peers/bin/python      # `make peers` builds that environment
    python benchmarks/read.py --clips "10 min 720p" --frames 16 --runs 5

Every run is a process of its own; readers alternate, and times are medians. CPU and wall time count from before the
file is opened until the frames are there at the model's size.

"right" counts the frames that look like those at the wanted numbers, rather than like their neighbours. "off" is how
far their pixels are from what the model should see, in levels of 255 on average. Only peers with all frames right and
less than OFF levels off are compared. The floor is the CPU time of decoding only the packets that must be decoded.
Clips are made once and kept in --folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from _clips import RECIPES, Clip, make
from rich.console import Console
from rich.table import Table

from vtcli.video.probe import probe
from vtcli.video.resize import resize
from vtcli.video.sampling import FramePlan, FrameRequest, plan_frames

ONCE = Path(__file__).with_name("_read_once.py")
OURS = ("vt", "floor", "PyAV straight")  # run by this Python
PEERS = (
    "decord",
    "decord, own resize",
    "torchcodec",
    "torchcodec approximate",
    "qwen decord",
    "qwen torchcodec",
    "qwen torchvision",
)
WHOLE = ("PyAV straight", "qwen torchvision")  # decode everything; skipped for clips longer than LONGEST
LONGEST = 900  # seconds
LIMIT = 900  # seconds a run may take
MEMORY = 200  # MB
OFF = 2.0  # levels: other resizing filters stay below, except those that skip pixels
BARS = {"10 min 720p": 0.65, "10 min 1080p HEVC": 0.65, "60 min 720p": 0.6}  # of the fastest peer; others: 1.05
FAR = ("10 min 720p", "60 min 720p")  # the same groups of pictures, further apart

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Run:
    """One run: wall and CPU seconds, peak memory in MB, and its frames."""

    wall: float
    cpu: float
    peak: float
    pixels: Pixels


@dataclass(frozen=True)
class Score:
    """Medians over the runs of one reader. right: frames that are those asked for. off: in levels, on average."""

    wall: float
    cpu: float
    peak: float
    right: int
    of: int
    off: float

    @property
    def is_right(self) -> bool:
        return self.right == self.of and self.off < OFF


def main() -> int:
    options = _options()
    console = Console()
    options.folder.mkdir(parents=True, exist_ok=True)
    missed: list[str] = []
    walls: dict[tuple[str, int], float] = {}
    for recipe in RECIPES:
        if options.clips and recipe.name not in options.clips:
            continue
        clip = make(recipe, options.folder)
        info = probe(clip.path)
        for count in options.frames:
            plan = plan_frames(info, FrameRequest(frames=count))
            readers = [name for name in (*OURS, *PEERS) if name in OURS or options.peers]
            readers = [name for name in readers if name == "vt" or not options.readers or name in options.readers]
            if info.duration > LONGEST:
                readers = [name for name in readers if name not in WHOLE]
            scores = measure(clip, plan, readers, options, console)
            walls[clip.name, count] = scores["vt"].wall
            console.print(table(f"{clip.name}, {count} frames, {options.runs} alternating runs", scores))
            missed += [f"{clip.name}, {count} frames: {line}" for line in verdicts(clip.name, scores)]
    for count in options.frames:
        missed += far_apart(options, count, console)
    for line in missed:
        console.print(f"MISSED {line}")
    return int(bool(missed))


def measure(
    clip: Clip, plan: FramePlan, readers: Iterable[str], options: argparse.Namespace, console: Console
) -> dict[str, Score]:
    """Returns each reader's score; leaves out those that fail, after printing why."""
    clip.path.read_bytes()  # into the page cache, as far as it fits
    runs: dict[str, list[Run]] = {name: [] for name in readers}
    for _ in range(options.runs):
        for name in list(runs):
            try:
                runs[name].append(run(name, clip.path, plan, options.peers))
            except (subprocess.SubprocessError, OSError) as error:
                said = getattr(error, "stderr", None) or str(error)
                console.print(f"{name} fails: {said.strip().splitlines()[-1][:200]}", highlight=False)
                del runs[name]
    truth = Truth(clip, plan)
    return {name: score(done, truth) for name, done in runs.items()}


def run(name: str, path: Path, plan: FramePlan, peers: str | None) -> Run:
    python = sys.executable if name in OURS else str(peers)
    with tempfile.TemporaryDirectory() as folder:
        frames, output = Path(folder) / "frames.json", Path(folder) / "pixels.npy"
        frames.write_text(json.dumps(plan.indices))
        arguments = [python, str(ONCE), name, str(path), str(plan.width), str(plan.height), str(frames), str(output)]
        done = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=True, timeout=LIMIT)
        said = json.loads(done.stdout.splitlines()[-1])
        return Run(said["wall"], said["cpu"], said["peak"], np.load(output))


class Truth:
    """The frames of a plan and their neighbours, decoded from the beginning of the clip or of the piece it repeats."""

    def __init__(self, clip: Clip, plan: FramePlan) -> None:
        self.count = len(plan.indices)
        self._near = [[self._number(i + step, clip) for step in (0, -1, 1, -2, 2)] for i in plan.indices]
        wanted = {number for near in self._near for number in near}
        self._pictures: dict[int, Pixels] = {}
        with av.open(str(clip.piece)) as container:
            stream = container.streams.best("video")
            assert stream is not None
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    self._pictures[number] = resize(frame.to_ndarray(format="rgb24"), plan.height, plan.width)

    @staticmethod
    def _number(index: int, clip: Clip) -> int:
        return index % clip.period if clip.period else max(0, index)

    def compare(self, pixels: Pixels) -> tuple[int, float]:
        """Returns how many of `pixels` look right, and the mean difference.

        A frame is right if it looks like the one asked for at least as much as like its neighbours.
        """
        if len(pixels) != self.count:
            return 0, 0.0
        right, total = 0, 0.0
        for picture, near in zip(pixels, self._near, strict=True):
            off = [
                float(np.abs(picture.astype(np.int16) - self._pictures[number]).mean())
                for number in near
                if number in self._pictures
            ]
            right += off[0] <= min(off) + 0.05  # if nothing moves, all are right
            total += off[0]
        return right, total / self.count


def score(runs: Sequence[Run], truth: Truth) -> Score:
    wall, cpu, peak = (statistics.median(getattr(r, name) for r in runs) for name in ("wall", "cpu", "peak"))
    right, off = truth.compare(runs[-1].pixels)
    return Score(wall, cpu, peak, right, truth.count, off)


def fastest(scores: dict[str, Score]) -> float | None:
    """Returns the wall seconds of the fastest peer with the right frames, to which the table's ratio refers."""
    return min((s.wall for name, s in scores.items() if name not in ("vt", "floor") and s.is_right), default=None)


def table(title: str, scores: dict[str, Score]) -> Table:
    best = fastest(scores)
    out = Table("reader", "wall s", "CPU s", "peak MB", "right", "off", "ratio", title=title)
    for name, s in scores.items():
        if name == "floor":
            out.add_row("floor", "", f"{s.cpu:.2f}")
        else:
            ratio = f"{s.wall / best:.2f}" if best else ""
            out.add_row(
                name, f"{s.wall:.2f}", f"{s.cpu:.2f}", f"{s.peak:.0f}", f"{s.right}/{s.of}", f"{s.off:.1f}", ratio
            )
    return out


def verdicts(clip: str, scores: dict[str, Score]) -> list[str]:
    """Returns the bars missed."""
    ours, best, decord = scores["vt"], fastest(scores), scores.get("decord")
    bar = BARS.get(clip, 1.05)
    missed = []
    if not ours.is_right:
        missed.append(f"{ours.of - ours.right} wrong frames, {ours.off:.1f} levels off")
    if best and ours.wall > bar * best:
        missed.append(f"{ours.wall / best:.2f} of the fastest peer's time, bar {bar}")
    if clip == FAR[1] and decord and ours.wall > 0.3 * decord.wall:
        missed.append(f"{ours.wall / decord.wall:.2f} of decord's time, bar 0.3")
    if ours.peak > MEMORY:
        missed.append(f"{ours.peak:.0f} MB, bar {MEMORY}")
    return missed


def far_apart(options: argparse.Namespace, count: int, console: Console) -> list[str]:
    """Compares reading the same groups of pictures in a film of 10 minutes and spread over one of 60.

    Returns the bars missed.
    """
    recipes = {recipe.name: recipe for recipe in RECIPES}
    if options.clips and not set(FAR) <= set(options.clips):
        return []
    near, far = (make(recipes[name], options.folder) for name in FAR)
    plan = plan_frames(probe(near.path), FrameRequest(frames=count))
    pieces = probe(far.path).frames // far.period
    steps = [pieces * k // count for k in range(count)]
    spread = tuple(i % far.period + far.period * step for i, step in zip(plan.indices, steps, strict=True))
    far_plan = FramePlan(**{**vars(plan), "indices": spread})
    pairs = [(run("vt", near.path, plan, None), run("vt", far.path, far_plan, None)) for _ in range(options.runs)]
    for what, bar in (("wall", 1.0), ("cpu", None)):
        a, b = (statistics.median(getattr(pair[i], what) for pair in pairs) for i in (0, 1))
        console.print(
            f"{count} frames of the same groups, {what}: 10 min {a:.2f} s, 60 min {b:.2f} s, ratio {b / a:.2f}"
        )
        if bar and b > bar * a:
            return [f"60 min cost {b / a:.2f} of 10 min for the same groups, {count} frames, bar {bar}"]
    return []


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reading frames of a video, against other readers.")
    parser.add_argument("--peers", metavar="PYTHON", help="a Python that has decord, torchcodec and qwen-vl-utils")
    parser.add_argument("--clips", metavar="NAME", nargs="+", choices=[r.name for r in RECIPES], help="only these")
    parser.add_argument("--readers", metavar="NAME", nargs="+", choices=[*OURS, *PEERS], help="only these, and vt")
    parser.add_argument("--frames", metavar="N", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--runs", metavar="N", type=int, default=3)
    folder = Path(tempfile.gettempdir()) / "vt-benchmark-clips"
    parser.add_argument("--folder", metavar="DIR", type=Path, default=folder, help=f"where clips are kept ({folder})")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
