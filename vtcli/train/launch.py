"""Builds the command that runs `vt train` on several GPUs or machines: accelerate's, with a configuration of vt's."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

STRATEGIES = ("ddp", "fsdp2", "zero2", "zero3")


def config_file(strategy: str) -> Path:
    """Returns accelerate's configuration file for one of `STRATEGIES`."""
    return Path(str(files("vtcli.train") / "launch_configs" / f"{strategy}.yaml"))


def launch_command(arguments: Sequence[str], strategy: str, gpus: int, nodes: int) -> str:
    """Returns the command for every machine; with several, RANK is a machine's number, MASTER the first one's name."""
    command = [_accelerate(), "launch", "--config_file", str(config_file(strategy))]
    line = shlex.join([*command, "--num_processes", str(gpus * nodes), "--num_machines", str(nodes)])
    if nodes > 1:
        line += ' --machine_rank "$RANK" --main_process_ip "$MASTER" --main_process_port 29500'
    return f"{line} -m vtcli train {shlex.join(arguments)}"


def slurm_script(arguments: Sequence[str], strategy: str, gpus: int, nodes: int) -> str:
    """Returns a script for `sbatch` with one task per machine, each of which launches its processes."""
    launch = launch_command(arguments, strategy, gpus, nodes)
    return f"""#!/bin/bash
#SBATCH --job-name=vt-train
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --exclusive
#SBATCH --mem=0
# Add what your cluster asks for: --partition, --account, --time. A job that was ended goes on when submitted again.
set -euo pipefail
MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER
srun --kill-on-bad-exit=1 bash -c {shlex.quote("RANK=$SLURM_NODEID; exec " + launch)}
"""


def _accelerate() -> str:
    """Returns `accelerate` if that finds the program beside this Python, otherwise that program's path, if any."""
    ours = shutil.which("accelerate", path=str(Path(sys.executable).parent))
    return ours if ours and shutil.which("accelerate") != ours else "accelerate"
