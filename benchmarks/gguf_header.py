"""Reads the header of a GGUF file with a vocabulary of 150,000 words: vt's reader against the gguf package's.

    python benchmarks/gguf_header.py [FILE.gguf]      # without it, a file with made-up words is written

Both run as processes of their own, imports included; runs alternate. The header is all that vt reads before the
weights.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _compare import Command, compare

OURS = "import sys; from pathlib import Path; from vtcli.models.gguf import read_gguf; read_gguf(Path(sys.argv[1]))"
THEIRS = "import sys; from gguf import GGUFReader; GGUFReader(sys.argv[1])"
WORDS = 150_000


def write(file: Path) -> Path:
    """Writes a file with nothing but a vocabulary, as large as Qwen2's."""
    from gguf import GGUFWriter

    writer = GGUFWriter(file, "qwen2vl")
    writer.add_token_list([f"word{number}" for number in range(WORDS)])
    writer.add_token_types([1] * WORDS)
    writer.add_token_merges([f"wo rd{number}" for number in range(WORDS)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = sys.argv[1] if len(sys.argv) > 1 else str(write(Path(folder) / "words.gguf"))
        ours = Command("vtcli.models.gguf", [sys.executable, "-c", OURS, file], {})
        theirs = Command("gguf.GGUFReader", [sys.executable, "-c", THEIRS, file], {})
        return compare("header of a GGUF file", ours, theirs, runs=5, bar=0.5)


if __name__ == "__main__":
    sys.exit(main())
