"""`vt ask` against a plain script with AutoProcessor and generate: the whole process, from start to answer.

    python benchmarks/ask_wall.py [FOLDER]      # the embedded model by default

Both answer the same question about the same clip, greedily and with the same maximum number of tokens.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _compare import VT, Command, compare

from vtcli.models.checkpoint import open_checkpoint
from vtcli.prompt import build_prompt
from vtcli.shapes.demo import write_demo

PLAIN = Path(__file__).with_name("_plain.py")
TORCHVISION = "torchvision==0.28.0"  # pairs with the torch 2.13.0 of the Makefile
MAX_TOKENS = "128"


def torchvision_folder(parent: Path) -> list[str]:
    """Returns [] if torchvision is installed, otherwise a folder it is installed into, outside this environment."""
    if importlib.util.find_spec("torchvision") is not None:
        return []
    folder = parent / "torchvision"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), TORCHVISION]
    subprocess.run(pip, check=True)
    return [str(folder)]


def main() -> int:
    model = open_checkpoint(sys.argv[1] if len(sys.argv) > 1 else "tiny").path
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        question, choices = write_demo(clip)
        prompt = build_prompt(question, choices)
        flags = [word for choice in choices for word in ("-c", choice)]
        ask = [VT, "ask", str(clip), question, *flags, "-m", str(model), "--temperature", "0"]
        ours = Command("vt ask", [*ask, "--max-tokens", MAX_TOKENS, "--quiet", "--json"], {})
        plain = [sys.executable, str(PLAIN), str(model), str(clip), MAX_TOKENS, prompt.system, prompt.user]
        theirs = Command("AutoProcessor + generate", [*plain, *torchvision_folder(Path(folder))], {})
        record = json.loads(subprocess.run(ours.arguments, capture_output=True, check=True).stdout)
        said = subprocess.run(theirs.arguments, capture_output=True, check=True, encoding="utf-8").stdout
        print(f"tokens written: vt {record['usage']['completion_tokens']}, plain script {said.split()[0]}")
        return compare("one question, whole process", ours, theirs, runs=7, bar=1.0)


if __name__ == "__main__":
    sys.exit(main())
