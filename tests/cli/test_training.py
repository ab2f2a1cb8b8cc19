"""What `vt train` shows while it runs."""

from __future__ import annotations

import pytest

from vtcli.cli.training import TrainFollower


def goes_on(monkeypatch: pytest.MonkeyPatch, live: bool) -> list[float | None]:
    """The time left after each of some steps, gone on after step 60 of 100: 500 s to load, then 100 s a step."""
    clock, left = [0.0], []
    with TrainFollower("never", quiet=False) as follower:
        follower._live, follower._steps = live, {"grpo": 100}
        monkeypatch.setattr(follower._progress, "get_time", lambda: clock[0])
        follower.begins("grpo", 60)
        (task,) = follower._progress.tasks
        for step, clock[0] in ((61, 500.0), (62, 600.0), (63, 700.0)):
            follower.step("grpo", step, 100, {"loss": 0.5})
            left.append(task.time_remaining)
    return left


def test_time_left_is_told_from_the_steps_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow steps are told too."""
    assert goes_on(monkeypatch, live=True) == [None, 38 * 100, 37 * 100]


def test_lines_of_a_log_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    goes_on(monkeypatch, live=False)
    steps = capsys.readouterr().err.splitlines()[1:]
    assert steps == [
        "vt: grpo 61/100  loss 0.5",
        "vt: grpo 62/100  loss 0.5  left 63 min",
        "vt: grpo 63/100  loss 0.5  left 62 min",
    ]
