"""A whole `vt ask` of one token to a GGUF file, against the import that the transformers engine begins with.

    python benchmarks/gguf_start.py

The file is `tiny`, exported for this: nearly all of the time goes into starting Python, reading the clip and loading
llama.cpp.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _compare import VT, Command, compare

from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.export import export
from vtcli.shapes.demo import write_demo

IMPORT = "from vtcli.engines.loading import import_model_code; import_model_code()"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        question, _ = write_demo(clip)
        model = export(open_checkpoint("tiny"), Path(folder), "Q8_0").text
        ask = [VT, "ask", str(clip), question, "-m", str(model), "--max-tokens", "1", "-q", "--no-cache"]
        ours = Command("vt ask, GGUF", ask, {})
        theirs = Command("import transformers and torch", [sys.executable, "-c", IMPORT], {})
        return compare("start of a question", ours, theirs, runs=7, bar=0.5)


if __name__ == "__main__":
    sys.exit(main())
