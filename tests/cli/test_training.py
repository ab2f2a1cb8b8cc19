"""What `vt train` shows while it runs."""

from __future__ import annotations

import pytest

from vtcli.cli.training import TrainFollower


def test_time_left_is_told_from_the_steps_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone on after step 60 of 100, 500 s to load, then 100 s a step: slow steps are told too."""
    clock = [0.0]
    with TrainFollower("never", quiet=False) as follower:
        follower._live, follower._steps = True, {"grpo": 100}
        monkeypatch.setattr(follower._progress, "get_time", lambda: clock[0])
        follower.begins("grpo", 60)
        (task,) = follower._progress.tasks
        left = []
        for step, clock[0] in ((61, 500.0), (62, 600.0), (63, 700.0)):
            follower.step("grpo", step, 100, {"loss": 0.5})
            left.append(task.time_remaining)
        assert left == [None, 38 * 100, 37 * 100]
