"""Makes docs/images/demo.svg from a real run of `vt demo` in a terminal. POSIX only.

    python scripts/screenshot.py

Nothing is drawn by hand: Rich renders what the command writes to a pseudo-terminal as a terminal would show it.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "docs" / "images" / "demo.svg"
WIDTH = 96


def terminal_output(command: list[str], folder: Path) -> bytes:
    """Everything `command` writes to a terminal of WIDTH columns; raises RuntimeError if it fails."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(COLUMNS=str(WIDTH), LINES="50", TERM="xterm-256color", COLORTERM="truecolor")
        os.environ.pop("NO_COLOR", None)
        os.execvp(command[0], command)
    written = bytearray()
    try:
        while block := os.read(terminal, 1 << 16):
            written += block
    except OSError:  # Linux reports a closed other end this way
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise RuntimeError(f"{command} ended with {status}: {written.decode(errors='replace')}")
    return bytes(written)


def picture(output: bytes, title: str) -> str:
    """Returns the SVG of a terminal showing `output`, without erased lines; the viewer supplies the fonts."""
    text = output.decode().replace("\r\n", "\n")
    text = re.sub(r"[^\n]*\r\x1b\[2K", "", text)
    # The trace is written word by word. Join neighbours of one style, or viewers position each word separately.
    again = re.compile(r"(\x1b\[[\d;]+m)([^\x1b\n]*)\x1b\[0m\1")
    while again.search(text):
        text = again.sub(r"\1\2", text)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=False)
        svg = console.export_svg(title=title)
    return re.sub(r"@font-face \{.*?\}\n?", "", svg, flags=re.DOTALL)  # fonts would be fetched from the network


def main() -> None:
    vt = str(Path(sys.executable).with_name("vt"))
    with tempfile.TemporaryDirectory() as folder:
        svg = picture(terminal_output([vt, "demo"], Path(folder)), title="vt demo")
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    print(IMAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
