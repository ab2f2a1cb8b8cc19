"""Shows the progress of a training run on stderr: live on a terminal, otherwise one line per logged step."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vtcli.cli.console import make_console
from vtcli.trace.text import sanitise_line

if TYPE_CHECKING:
    from pathlib import Path

    from vtcli.cli.options import Color
    from vtcli.train.check import Checked
    from vtcli.train.duration import Planned
    from vtcli.train.hub import Fetched
    from vtcli.train.plan import Devices

_SHOWN_PROBLEMS = 3
_PERIOD = 3600.0
"""Seconds over which the time left is estimated; rich's default of 30 may not cover two steps."""
#: The values of a logged step that are shown: key, label and format.
_VALUES = (
    ("loss", "loss", "{:.4g}"),
    ("reward", "reward", "{:.3f}"),
    ("rewards/accuracy/mean", "accuracy", "{:.0%}"),
    ("rewards/format/mean", "format", "{:.0%}"),
    ("kl", "kl", "{:.2g}"),
    ("sampling/sampling_logp_difference/max", "vLLM apart", "{:.1g}"),
    ("held_out/accuracy", "held-out accuracy", "{:.1%}"),
    ("held_out/format", "held-out format", "{:.1%}"),
    ("held_out/iou", "held-out IoU", "{:.3f}"),
)


class TrainFollower:
    """A `vtcli.train.job.Follower` that prints. As a context manager it leaves a clean line."""

    def __init__(self, color: Color, quiet: bool) -> None:
        self._console = make_console(color, stderr=True)
        self._quiet = quiet
        self._live = self._console.is_terminal and not quiet
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, TextColumn("{task.fields[values]}"), console=self._console,
                                  disable=not self._live, transient=True, speed_estimate_period=_PERIOD)  # fmt: skip
        self._task: TaskID | None = None
        self._asked: TaskID | None = None
        self._values: dict[str, str] = {}
        self._steps: dict[str, int] = {}
        """Steps per stage, for the stages still to be run."""

    def __enter__(self) -> TrainFollower:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._progress.stop()

    def fetching(self, name: str, done: int, total: int) -> None:
        self._advance(f"fetching {sanitise_line(name)}, MB", done // 10**6, total // 10**6, "")

    def fetched(self, data: Fetched) -> None:
        self._end()
        self._say(f"{data.source.repository} at {data.commit[:12]}: {', '.join(file.name for file in data.files)}")

    def checking(self, done: int, total: int) -> None:
        self._advance("reading videos", done, total, "")

    def checked(self, checked: Checked) -> None:
        self._end()
        said = f"{checked.total} records: {len(checked.train)} to train on, {len(checked.held_out)} held out"
        if checked.problems:
            said += f", {len(checked.problems)} left out (" + ", ".join(
                f"{count} {kind}" for kind, count in checked.counts().items()
            ) + ")"  # fmt: skip
        self._say(said)
        for problem in checked.problems[:_SHOWN_PROBLEMS]:
            self._say(f"  {problem}")
        if len(checked.problems) > _SHOWN_PROBLEMS:
            self._say(f"  and {len(checked.problems) - _SHOWN_PROBLEMS} more")
        for note in checked.notes[:_SHOWN_PROBLEMS]:
            self._say(f"  {note}")

    def planned(self, stage: str, planned: Planned, on: Devices) -> None:
        from vtcli.train.duration import spell

        self._steps[stage] = planned.steps
        parts, seconds = planned.memory, planned.seconds["total"]
        listed = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items() if name != "total" and size)
        many = f"{on.count} × {on.kind}" if on.count > 1 else on.kind
        self._say(f"{stage}: {planned.steps} steps on {many}, {parts['total'] / 1e9:.2f} GB each ({listed})")
        said = f"{stage}: about {spell(seconds)} in all, at the pace of one layer here"
        if planned.longest is not None:
            said += f", with completions of {planned.reply} tokens, as the records' replies are on average"
            if planned.longest > seconds:
                said += f"; {spell(planned.longest)} where all have as many as they may"
        self._say(said)

    def warned(self, text: str) -> None:
        self._say(f"warning: {text}")

    def begins(self, stage: str, resumed: int) -> None:
        self._values = {}
        self._say(f"{stage}: goes on after step {resumed}" if resumed else f"{stage}: begins")
        self._advance(stage, resumed, self._steps[stage], "")

    def evaluating(self, stage: str, done: int, total: int) -> None:
        if self._asked is None:
            self._asked = self._progress.add_task(f"{stage}, held-out questions", total=total, values="")
        self._progress.update(self._asked, completed=done)
        if done == total:
            self._progress.remove_task(self._asked)
            self._asked = None

    def step(self, stage: str, step: int, steps: int, row: dict[str, Any]) -> None:
        from vtcli.train.duration import spell

        shown = {label: form.format(row[name]) for name, label, form in _VALUES if name in row}
        if row.get("seconds") and row.get("tokens"):
            shown["tokens/s"] = f"{row['tokens'] / row['seconds']:.0f}"
        if row.get("gpu_memory"):
            shown["GPU"] = f"{row['gpu_memory'] / 1e9:.1f} GB"
        if not any(name.startswith("held_out") for name in row):  # held-out results are printed on their own lines
            self._values |= shown
        self._advance(stage, step, steps, "  ".join(f"{label} {value}" for label, value in self._values.items()))
        if not self._live or "held-out accuracy" in shown:
            if left := next(task.time_remaining for task in self._progress.tasks if task.id == self._task):
                shown["left"] = spell(left)
            self._say(f"{stage} {step}/{steps}  " + "  ".join(f"{label} {value}" for label, value in shown.items()))

    def saved(self, stage: str, step: int) -> None:
        if not self._live:
            self._say(f"{stage} {step}: checkpoint saved")

    def finished(self, stage: str, model: Path) -> None:
        self._end()
        self._say(f"{stage}: done{'' if stage in self._steps else ' before'}, {model}")

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._live:
            self._console.print(sanitise_line(text), soft_wrap=True, style="dim")
        else:
            print(f"vt: {sanitise_line(text)}", file=sys.stderr, flush=True)

    def _advance(self, what: str, done: int, total: int, values: str) -> None:
        if self._task is None:
            # The rate must not include earlier processes' steps or loading the model: it counts from the next step.
            self._task = self._progress.add_task(what, total=total, completed=done, values=values)
        self._progress.update(self._task, description=what, completed=done, total=total, values=values)

    def _end(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
