"""What `vt train` is asked to do, and who follows how it goes."""

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
    """What to run, and where. stages: those of the recipe where empty. skip_bad: train without records that cannot be
    used, instead of stopping. dry_run: check and plan only."""

    recipe: Recipe
    out: Path
    stages: tuple[StageName, ...] = ()
    skip_bad: bool = False
    dry_run: bool = False
    name: str = ""

    def folder(self, stage: StageName) -> Path:
        """Where a stage keeps its log, its checkpoints and its model."""
        return self.out / stage

    def model(self, stage: StageName) -> Path:
        """The whole model a stage gives, there when it is done."""
        return self.folder(stage) / "final"

    def is_done(self, stage: StageName) -> bool:
        """Whether a stage has been run to its end."""
        return (self.model(stage) / "config.json").is_file()


class Follower(Protocol):
    """Follows a run, in its first process only. Beside these, the methods of `vtcli.train.trainer.Listener`."""

    def fetching(self, name: str, done: int, total: int) -> None:
        """Bytes of a data set that are here so far."""

    def fetched(self, data: Fetched) -> None:
        """Records of a data set are on the disk."""

    def checking(self, done: int, total: int) -> None:
        """Videos read so far."""

    def checked(self, checked: Checked) -> None:
        """The data are known."""

    def planned(self, stage: StageName, planned: Planned, on: Devices) -> None:
        """A stage that is still to be run fits."""

    def warned(self, text: str) -> None:
        """Something the user should know before it begins."""

    def begins(self, stage: StageName, resumed: int) -> None:
        """A stage goes on after step `resumed`; its model is to be loaded."""

    def evaluating(self, stage: StageName, done: int, total: int) -> None:
        """Held-out questions answered so far."""

    def finished(self, stage: StageName, model: Path) -> None:
        """A stage is done."""

    def step(self, stage: str, step: int, steps: int, row: dict[str, Any]) -> None: ...

    def saved(self, stage: str, step: int) -> None: ...
