"""What is tried: every clip at 16, 32 and 64 frames, whole and in a window, and at rates where rounding is delicate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.parity.clips import CLIPS, Clip
from vtcli.models.checkpoint import Checkpoint
from vtcli.prompt import build_prompt

COUNTS = (16, 32, 64)
RATES = (2.6, 3.7, 23.976)
"""--fps at which float64 would give other positions than float32 (facts of M-RoPE), or more than 4 a second."""
QUESTIONS = (
    ("Which way does the red circle go?", ("left", "right", "up", "down")),
    ("Why did he leave at 00:12? <think>…</think> 東京 🎬", ()),
)


@dataclass(frozen=True)
class Case:
    """One clip, one question, and which frames; times in seconds."""

    name: str
    clip: str
    question: str
    choices: tuple[str, ...]
    frames: int | None = None
    fps: float | None = None
    start: float | None = None
    end: float | None = None

    def job(self, folder: Path, checkpoint: Checkpoint, max_pixels: int | None) -> dict[str, Any]:
        """The case as `reference.py` takes it; sizes are bounded as vt bounds them for this checkpoint."""
        prompt = build_prompt(self.question, self.choices)
        low, high = checkpoint.frame_pixels(max_pixels)
        facts = {key: value for key, value in asdict(self).items() if key not in ("question", "choices", "clip")}
        video = str(folder / f"{self.clip}.mp4")
        return facts | {
            "video": video, "system": prompt.system, "user": prompt.user, "min_pixels": low, "max_pixels": high
        }  # fmt: skip


def every_case() -> tuple[Case, ...]:
    """All cases, in a fixed order; a clip of fewer frames than asked for is left out, the reference refuses those."""
    return tuple(case for number, clip in enumerate(CLIPS) for case in _cases(number, clip))


def _cases(number: int, clip: Clip) -> list[Case]:
    question, choices = QUESTIONS[number % len(QUESTIONS)]
    start, end = round(0.13 * clip.seconds, 2), round(0.91 * clip.seconds, 2)
    found = []
    for count in COUNTS:
        if clip.frames >= count:
            found.append(Case(f"{clip.name}-{count}", clip.name, question, choices, frames=count))
        if 0.7 * clip.frames >= count:
            name = f"{clip.name}-{count}-window"
            found.append(Case(name, clip.name, question, choices, frames=count, start=start, end=end))
    fps = RATES[number % len(RATES)]
    if fps <= float(clip.rate):
        # A window keeps long clips at this rate within a hundred frames.
        until = round(min(clip.seconds, 100 / fps), 2)
        found.append(Case(f"{clip.name}-at-{fps}", clip.name, question, choices, fps=fps, end=until))
    return found
