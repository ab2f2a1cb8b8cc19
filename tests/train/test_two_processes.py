"""Two processes over gloo: the same numbers as one with the same global batch, and going on after one is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trl")

import psutil
import yaml

from tests.e2e.conftest import ROOT
from tests.train.test_run import equal, finished, flags, weights
from vtcli.train import checkpoints
from vtcli.train.journal import Journal
from vtcli.train.launch import config_file

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo")]

needs_deepspeed = pytest.mark.skipif(util.find_spec("deepspeed") is None, reason="no DeepSpeed (make deepspeed)")
ZERO = [pytest.param(name, marks=needs_deepspeed) for name in ("zero2", "zero3")]
SETTINGS = (
    "data.held_out=1",
    "sft.batch=4",
    "sft.max_steps=4",
    "sft.epochs=4",
    "sft.learning_rate=1e-3",
    "sft.keep=10",
    "grpo.batch=4",
    "grpo.max_steps=3",
    "grpo.learning_rate=1e-3",
    "grpo.rewards={tests.train.test_grpo:spread: 1.0}",
)


def cpu_config(strategy: str, folder: Path) -> Path:
    """The configuration that comes with vt, told to use the CPU, in `folder`."""
    settings = yaml.safe_load(config_file(strategy).read_text())
    config = folder / f"{strategy}.yaml"
    config.write_text(yaml.safe_dump(settings | {"use_cpu": True, "mixed_precision": "no"}))
    return config


def start_two(arguments: Sequence[str], home: Path, strategy: str) -> subprocess.Popen[str]:
    """By torchrun, or by accelerate with the configuration that comes with vt, told to use the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    if strategy != "ddp":
        config = cpu_config(strategy, home.parent)
        launch = ["-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
        launch += ["--num_machines", "1", "--main_process_port", str(port)]
    environment = {"PYTHONPATH": str(ROOT), "VT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launch, "-m", "vtcli", *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two_finished(arguments: Sequence[str], home: Path, strategy: str) -> str:
    process = start_two(arguments, home, strategy)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return error


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", *ZERO])
def test_two_processes_compute_what_one_does(
    strategy: str, random_checkpoint: Path, shapes: Path, tmp_path: Path
) -> None:
    home, one, two = tmp_path / "home", tmp_path / "one", tmp_path / "two"
    command = flags(random_checkpoint, shapes, *SETTINGS)
    code, error = finished([*command, "--set", "sft.per_device=4", "-o", str(one)], home)
    assert code == 0, error
    error = two_finished([*command, "--set", "sft.per_device=2", "-o", str(two)], home, strategy)
    assert error.count("sft: begins") == 1  # one process speaks
    for stage in ("sft", "grpo"):
        first, second = (list(Journal(out / stage / "log.jsonl").rows()) for out in (one, two))
        assert [row["step"] for row in first] == [row["step"] for row in second]
        for row, other in zip(first, second, strict=True):
            for name in ("loss", "grad_norm", "reward", "kl", "held_out/iou", "completions/mean_length"):
                if name in row:
                    assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-6), (stage, row["step"], name)
        # Adam divides by the gradient's size, so that rounding counts where there is next to none.
        ours, theirs = weights(one / stage / "final"), weights(two / stage / "final")
        apart = np.concatenate([np.abs(ours[name] - theirs[name]).ravel() for name in ours])
        assert np.quantile(apart, 0.99) < 2e-5 and apart.max() < 2e-3


def test_processes_with_other_records_say_so(tmp_path: Path) -> None:
    """As by --skip-bad on a machine that lacks a video: each would wait for the others' next batch."""
    script = tmp_path / "check.py"
    script.write_text("""
import os
from vtcli.errors import DataError
from vtcli.train.processes import check_same, join
state = join("float32")
check_same(state, "one", "recipe")
try:
    check_same(state, os.environ["RANK"], "records")
except DataError as error:
    print(error, flush=True)
state.wait_for_everyone()
state.destroy_process_group()
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the processes do not have the same records") == 2


@pytest.mark.parametrize("strategy", ZERO)
def test_grpo_by_itself_in_bfloat16(strategy: str, random_checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    """DeepSpeed is not joined by a stage before; the reference, spread by other code, starts as the policy does."""
    command = [*flags(random_checkpoint, shapes, *SETTINGS), "--set", "compute=bfloat16", "--stage", "grpo"]
    two_finished([*command, "-o", str(tmp_path / "out")], tmp_path / "home", strategy)
    rows = [row for row in Journal(tmp_path / "out" / "grpo" / "log.jsonl").rows() if "kl" in row]
    assert len(rows) == 3 and rows[0]["kl"] < 1e-4 < rows[-1]["kl"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", *ZERO])
def test_a_rank_killed_costs_nothing(strategy: str, random_checkpoint: Path, shapes: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [*flags(random_checkpoint, shapes, *SETTINGS), "--set", "sft.per_device=2", "--stage", "sft"]
    two_finished([*command, "-o", str(tmp_path / "straight")], home, strategy)
    out = tmp_path / "killed"
    process = start_two([*command, "-o", str(out)], home, strategy)
    while len(checkpoints.complete(out / "sft")) < 2 and process.poll() is None:
        time.sleep(0.005)
    second = next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.environ().get("RANK") == "1" and "vtcli" in child.cmdline()
    )
    second.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert "goes on after step" in two_finished([*command, "-o", str(out)], home, strategy)
    assert equal(tmp_path / "straight" / "sft" / "final", out / "sft" / "final")
