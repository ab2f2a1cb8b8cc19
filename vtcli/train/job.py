"""What `vt train` is asked to do, and the interface of what follows its progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vtcli.train.recipe import Recipe, StageName

if TYPE_CHECKING:
    from vtcli.train.check import Checked
    from vtcli.train.duration import Planned
    from vtcli.train.hub import Fetched
    from vtcli.train.plan import Devices


@dataclass(frozen=True)
class Job:
    """What to run, and where.

    stages: those to run; if empty, all of the recipe's. skip_bad: train without records that cannot be used, instead of
    stopping. dry_run: check and plan only.
    """

    recipe: Recipe
    out: Path
    stages: tuple[StageName, ...] = ()
    skip_bad: bool = False
    dry_run: bool = False
    name: str = ""

    def folder(self, stage: StageName) -> Path:
        """Returns the folder of a stage's log, checkpoints and model."""
        return self.out / stage

    def model(self, stage: StageName) -> Path:
        """Returns the folder of a stage's whole model, which exists once the stage is done."""
        return self.folder(stage) / "final"

    def is_done(self, stage: StageName) -> bool:
        """Whether a stage has run to its end."""
        return (self.model(stage) / "config.json").is_file()


class Follower(Protocol):
    """Follows a run, in its first process only. Also has the methods of `vtcli.train.trainer.Listener`."""

    def fetching(self, name: str, done: int, total: int) -> None:
        """Receives the bytes of a data set that are present so far."""

    def fetched(self, data: Fetched) -> None:
        """The records of a data set are on the disk."""

    def checking(self, done: int, total: int) -> None:
        """Receives the number of videos read so far."""

    def checked(self, checked: Checked) -> None:
        """The data is checked."""

    def planned(self, stage: StageName, planned: Planned, on: Devices) -> None:
        """A stage that is still to run is planned, and fits."""

    def warned(self, text: str) -> None:
        """Receives something the user should know before training begins."""

    def begins(self, stage: StageName, resumed: int) -> None:
        """A stage begins, or resumes after step `resumed`; its model is not loaded yet."""

    def evaluating(self, stage: StageName, done: int, total: int) -> None:
        """Receives the number of held-out questions answered so far."""

    def finished(self, stage: StageName, model: Path) -> None:
        """A stage is done."""

    def step(self, stage: str, step: int, steps: int, row: dict[str, Any]) -> None: ...

    def saved(self, stage: str, step: int) -> None: ...
