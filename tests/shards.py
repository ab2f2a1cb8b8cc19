"""`tiny` as published checkpoints are laid out: weights in shards with an index, beside files that vt never takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vtcli.models.checkpoint import open_checkpoint


def write_sharded(folder: Path, count: int = 3) -> Path:
    """Writes it and returns the folder."""
    import torch  # noqa: F401  # safetensors needs it for bfloat16
    from safetensors.torch import load_file, save_file

    tiny = open_checkpoint("tiny").path
    folder.mkdir(parents=True)
    for file in tiny.iterdir():
        if file.suffix in (".json", ".txt", ".jinja") and file.name != "train.jsonl":
            shutil.copy(file, folder)
    tensors = load_file(tiny / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: tensors[name].contiguous() for name in names[number::count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    facts = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(facts))
    (folder / "modeling_evil.py").write_text("raise SystemExit('code of a model was run')\n")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder
