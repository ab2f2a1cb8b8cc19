"""Seeded schedules of faults: each pull ends in a whole model or a clear line, and the next one completes it.

Ten by default; `make faults` runs 200.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub import Fault, Hub, serve
from tests.machine import Machine, is_whole, one_line

STATUSES = (
    (401, "RepoNotFound"),
    (403, "GatedRepo"),
    (403, ""),
    (404, ""),
    (404, "EntryNotFound"),
    (408, ""),
    (429, ""),
)
STATUSES += ((500, ""), (502, ""), (503, ""))
QUICK = 10


class Schedule:
    """Which requests fail and how, decided by the seed alone; and when the process is killed, if it is."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._rate = self._dice.choice((0.1, 0.3, 0.6, 0.9))
        self._left = self._dice.choice((1, 3, 8, 1000))
        self._lock = threading.Lock()
        self.kill_after = self._dice.uniform(0.3, 2.0) if self._dice.random() < 0.3 else None

    def fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            if self._left == 0 or self._dice.random() > self._rate:
                return None
            self._left -= 1
            kind = self._dice.choice(("status", "drop", "drop", "stall", "slow", "wrong"))
            if kind == "status":
                status, code = self._dice.choice(STATUSES)
                return Fault(status=status, code=code)
            after = self._dice.choice((0, 1, 1000, 100_000, 2_000_000))
            return Fault(body=kind, after=after, seconds={"stall": 1.5, "slow": 0.01}.get(kind, 0.0))


def run(machine: Machine, name: str, kill_after: float | None) -> subprocess.CompletedProcess[str]:
    process = machine.start("pull", name)
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(["vt", "pull", name], process.returncode, out, err)


def finished(repository: Path, published: Path) -> set[str]:
    """Names of the published files whose content is whole in the cache."""
    blobs = repository / "blobs"
    there = {blob.read_bytes() for blob in blobs.iterdir() if blob.suffix != ".incomplete"} if blobs.is_dir() else set()
    return {file.name for file in published.iterdir() if file.read_bytes() in there}


@contextmanager
def publishing(sharded: Path, ggufs: Path) -> Iterator[Hub]:
    with serve() as hub:
        hub.add("acme/Small", sharded)
        hub.add("acme/Files", ggufs)
        yield hub


def check(seed: int, folder: Path, sharded: Path, ggufs: Path) -> None:
    name, published = ("acme/Small", sharded) if seed % 4 else ("acme/Files:q8_0", ggufs)
    schedule = Schedule(seed)
    with publishing(sharded, ggufs) as hub:
        hub.fault = schedule.fault
        machine = Machine(folder, hub.url)
        first = run(machine, name, schedule.kill_after)
    repository = machine.folder(name.partition(":")[0])
    if first.returncode == 1:
        one_line(first, "vt: error: ")
    elif first.returncode == 0:
        is_whole_for(name, repository, published)
    else:
        assert schedule.kill_after is not None, first.stderr
    kept = finished(repository, published)
    with publishing(sharded, ggufs) as hub:  # a server that no late request of the first process reaches
        second = run(Machine(folder, hub.url), name, None)
    assert second.returncode == 0, second.stderr
    is_whole_for(name, repository, published)
    asked = {path.rpartition("/")[2] for method, path in hub.requests if method == "GET" and "/resolve/" in path}
    assert not kept & asked, f"finished files were fetched again: {kept & asked} in {hub.requests}"


def is_whole_for(name: str, repository: Path, published: Path) -> None:
    if not name.endswith(":q8_0"):
        is_whole(repository, published)
        return
    (snapshot,) = (repository / "snapshots").iterdir()
    wanted = {file.name for file in published.iterdir() if "Q8_0" in file.name or "mmproj" in file.name}
    assert {file.name for file in snapshot.iterdir()} == wanted
    assert all((snapshot / file).read_bytes() == (published / file).read_bytes() for file in wanted)


@pytest.mark.parametrize(
    "seed", [*range(QUICK), *(pytest.param(n, marks=pytest.mark.faults) for n in range(QUICK, 200))]
)
def test_a_schedule_of_faults(seed: int, tmp_path: Path, sharded: Path, ggufs: Path) -> None:
    check(seed, tmp_path, sharded, ggufs)
