"""Records in run.json what a run is; its folder then refuses another recipe, another model or other records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import vtcli
from vtcli.disk import write_whole
from vtcli.errors import TrainError, UsageError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.fingerprint import fingerprint
from vtcli.train.check import Checked
from vtcli.train.job import Job
from vtcli.train.processes import strategy
from vtcli.train.recipe_file import recipe_of

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")


def begin_run(job: Job, base: Checkpoint, records: str, commits: Mapping[str, str], is_main: bool) -> dict[str, Any]:
    """Returns the contents of run.json, which a new run writes; `records` comes from `records_fingerprint`.

    Raises TrainError if the folder holds another run.
    """
    told = {
        "schema": "vt.run/1",
        "recipe": job.recipe.as_json(),
        "model": fingerprint(base),
        "records": records,
        "hub": dict(commits),
        "strategy": strategy(),
        "versions": {"vtcli": vtcli.__version__} | {name: metadata.version(name) for name in LIBRARIES} | _vllm(job),
    }
    told = json.loads(json.dumps(told))
    if before := told_before(job.out):
        if difference := _difference(before, told):
            raise TrainError(f"{job.out} holds another run ({difference}): give another --out, or that one's values")
        return before
    if is_main:
        job.out.mkdir(parents=True, exist_ok=True)
        write_whole(run_file(job.out), json.dumps(told, indent=1))
    return dict(told)


def _vllm(job: Job) -> dict[str, str]:
    """Returns vLLM's version if it draws completions; asks the module, as its distribution has several names."""
    if job.recipe.grpo is None or job.recipe.grpo.rollouts != "vllm":
        return {}
    import vllm

    return {"vllm": vllm.__version__}


def told_before(out: Path) -> dict[str, Any]:
    """Reads the run.json of the run in this folder; {} if there is none. Raises TrainError."""
    try:
        told = json.loads(run_file(out).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or not told:
        raise TrainError(f"{run_file(out)} cannot be read: give another --out")
    return told


def run_file(out: Path) -> Path:
    """Returns the path of run.json in a run's folder."""
    return out / "run.json"


#: Keys that may differ when a run resumes, because they change none of its numbers.
_FREE = (
    "description",
    "model",
    "log_every",
    "save_every",
    "keep",
    "evaluate_every",
    "workers",
    "check",
    "cache",
    "files",
    "roots",
)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    for name, what in (("model", "its model"), ("records", "its records")):
        if before.get(name) != now[name]:
            return f"{what} are others" if name == "records" else f"{what} is another"
    spread = now.get("strategy")
    if before.get("strategy", spread) != spread:  # the optimizer's state could not be loaded
        return f"its weights are spread by {before['strategy']}, not {spread}"
    then = before.get("recipe")
    if isinstance(then, dict):
        with suppress(UsageError):  # keys that its version did not have are at their defaults
            then = json.loads(json.dumps(recipe_of(then).as_json()))
    return _first_difference(then if isinstance(then, dict) else {}, now["recipe"], "")


def _first_difference(before: dict[str, Any], now: dict[str, Any], where: str) -> str:
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if old == new or key in _FREE:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            if found := _first_difference(old, new, f"{where}{key}."):
                return found
            continue
        return f"{where}{key} is {old} there, {new} here"
    return ""


def records_fingerprint(checked: Checked) -> str:
    """Hashes the records: equal for the same records in the same order, wherever their files are."""
    records = (*checked.train, *checked.held_out)
    told = [
        (r.problem, r.kind, r.answer, r.options, r.process, [file.name for file in r.shown], r.spans) for r in records
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
