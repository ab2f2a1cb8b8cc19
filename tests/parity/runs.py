"""Where runs are kept and how they are made: clips and checkpoints once, the reference in a process of its own.

Everything lies in `VT_PARITY`, by default build/parity; what is there is not made again, so that the same reference
serves several releases of transformers. `VT_PARITY_PYTHON` is the interpreter that has the reference's libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.cases import Case, every_case
from tests.parity.checkpoints import tiny, with_heads_of_the_7b
from tests.parity.clips import CLIPS, write
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.fingerprint import fingerprint

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "4.51.3"
"""The release of transformers whose positions the family was trained with."""
TOKENS = 64
MODELS = ("tiny", "tied", "untied")


@dataclass(frozen=True)
class Model:
    """A checkpoint, the cases it is tried on, and the most pixels a frame is asked to have."""

    name: str
    path: Path
    cases: tuple[Case, ...]
    max_pixels: int | None = None


def place() -> Path:
    """The folder of all runs."""
    return Path(os.environ.get("VT_PARITY", ROOT / "build" / "parity"))


def python() -> str | None:
    """The interpreter of the reference, None where there is none."""
    return os.environ.get("VT_PARITY_PYTHON")


def clips() -> Path:
    """The folder of the clips, all of them written."""
    folder = place() / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        if not (folder / f"{clip.name}.mp4").exists():
            write(clip, folder).rename(folder / f"{clip.name}.mp4")
    return folder


def model(name: str) -> Model:
    """One of `MODELS`, a random one written if it is not there. `tiny` is tried on every case, the others on a quarter.

    Pixels and tokens do not depend on weights.
    """
    cases = every_case()
    if name == "tiny":
        return Model(name, tiny(), cases)
    folder = place() / "models" / name
    if not (folder / "model.safetensors").exists():
        with_heads_of_the_7b(folder, name == "tied")
    return Model(name, folder, cases[MODELS.index(name) :: 4], 32 * 28 * 28)


def gguf(model: Model, quant: str) -> Path:
    """The model as a GGUF file with its projector beside it, exported anew when the checkpoint was changed."""
    from vtcli.models.export import export

    checkpoint = open_checkpoint(model.path)
    return export(checkpoint, place() / "gguf" / f"{model.name}-{quant}", quant, replace=True).text


def run(model: Model, transformers: str = REFERENCE) -> dict[str, Mapping[str, Any] | str]:
    """Results by case, a reason instead where a release cannot do it; the reference can do all.

    `transformers` other than the reference is looked for in VT_PARITY/transformers/VERSION.
    """
    out = place() / transformers / _kept(model)
    missing = [case for case in model.cases if _result(out, case) is None]
    if missing:
        _process(model, missing, out, transformers)
    found = {case.name: _result(out, case) for case in model.cases}
    return {name: result for name, result in found.items() if result is not None}


def _kept(model: Model) -> str:
    """Other weights have other results."""
    return f"{model.name}-{fingerprint(open_checkpoint(model.path))[:12]}"


def _process(model: Model, cases: list[Case], out: Path, transformers: str) -> None:
    checkpoint, folder = open_checkpoint(model.path), clips()
    job = place() / f"{transformers}-{out.name}.json"
    facts = {
        "checkpoint": str(model.path),
        "out": str(out),
        "tokens": TOKENS,
        "refusals": transformers != REFERENCE,
        "cases": [case.job(folder, checkpoint, model.max_pixels) for case in cases],
    }
    job.write_text(json.dumps(facts), encoding="utf-8")
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": ""}
    if transformers != REFERENCE:
        environment["PYTHONPATH"] = str(place() / "transformers" / transformers)
    interpreter = python()
    if interpreter is None:
        raise RuntimeError("no reference environment: run `make parity`")
    subprocess.run([interpreter, Path(__file__).with_name("reference.py"), job], env=environment, check=True)


def _result(out: Path, case: Case) -> Mapping[str, Any] | str | None:
    if (out / f"{case.name}.npz").exists():
        with np.load(out / f"{case.name}.npz") as arrays:
            return dict(arrays)
    refusal = out / f"{case.name}.txt"
    return refusal.read_text(encoding="utf-8") if refusal.exists() else None
