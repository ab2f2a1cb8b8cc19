"""The script that `--print-launch --slurm` prints, under a Slurm that runs here and has two nodes, without GPUs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")

from tests.e2e.conftest import ROOT
from tests.train.test_run import flags
from tests.train.test_two_processes import cpu_config
from vtcli.train import checkpoints


def nodes() -> int:
    """How many a cluster here has; 0 without one."""
    if shutil.which("sbatch") is None:
        return 0
    return len(subprocess.run(["sinfo", "-h", "-N"], capture_output=True, text=True, timeout=30).stdout.splitlines())


pytestmark = [pytest.mark.slow, pytest.mark.skipif(nodes() < 2, reason="no Slurm with two nodes")]


def test_a_job_runs_on_two_nodes_and_goes_on_when_submitted_again(
    random_checkpoint: Path, shapes: Path, tmp_path: Path
) -> None:
    settings = ("sft.batch=4", "sft.per_device=2", "sft.max_steps=40", "sft.epochs=40", "sft.save_every=2")
    command = [*flags(random_checkpoint, shapes, *settings), "--stage", "sft", "-o", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    launch = ["--print-launch", "fsdp2", "--gpus", "1", "--nodes", "2", "--slurm"]
    script = subprocess.run(
        [sys.executable, "-m", "vtcli", *command, *launch], env=environment, capture_output=True, text=True, check=True
    ).stdout
    script = re.sub(r"--config_file \S+", f"--config_file {cpu_config('fsdp2', tmp_path)}", script)
    job = tmp_path / "job.sh"
    job.write_text(script.replace("#SBATCH --gpus-per-node=1\n", ""))

    def submit(*more: str) -> str:
        told = ["sbatch", "--parsable", "--output", str(tmp_path / "told"), *more, str(job)]
        return subprocess.run(
            told, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=300
        ).stdout.strip()

    number = submit()
    try:
        while not checkpoints.complete(tmp_path / "out" / "sft"):
            assert subprocess.run(["squeue", "-h", "-j", number], capture_output=True).stdout, (
                tmp_path / "told"
            ).read_text()
            time.sleep(0.1)
    finally:
        subprocess.run(["scancel", "--full", number], check=True)
    while subprocess.run(["squeue", "-h", "-j", number], capture_output=True).stdout:
        time.sleep(0.2)
    assert not (tmp_path / "out" / "sft" / "final").exists()
    submit("--wait")
    told = (tmp_path / "told").read_text()
    assert "on 2 × cpu" in told and re.search(r"sft: goes on after step \d+\n", told), told
    assert (tmp_path / "out" / "sft" / "final" / "config.json").is_file()
