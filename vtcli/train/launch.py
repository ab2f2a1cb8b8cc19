"""The command that runs `vt train` on several GPUs or machines: accelerate's, with a configuration of vt's."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

STRATEGIES = ("ddp", "fsdp2", "zero2", "zero3")


def config_file(strategy: str) -> Path:
    """accelerate's configuration for one of `STRATEGIES`."""
    return Path(str(files("vtcli.train") / "launch_configs" / f"{strategy}.yaml"))


def launch_command(arguments: Sequence[str], strategy: str, gpus: int, nodes: int) -> str:
    """What to run on every machine; with more than one, RANK is its number and MASTER the first one's name."""
    command = ["accelerate", "launch", "--config_file", str(config_file(strategy))]
    line = shlex.join([*command, "--num_processes", str(gpus * nodes), "--num_machines", str(nodes)])
    if nodes > 1:
        line += ' --machine_rank "$RANK" --main_process_ip "$MASTER" --main_process_port 29500'
    return f"{line} -m vtcli train {shlex.join(arguments)}"
