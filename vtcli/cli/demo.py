"""`vt demo`: writes a sample clip and asks the embedded model about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "tiny"


def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="File to write the sample clip to.")
    ] = "vt-demo.mp4",
    device: options.DeviceOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Overwrite an existing file.")] = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Write a sample clip of moving shapes and ask about it with the embedded model."""
    from pathlib import Path

    from vtcli.ask import Question
    from vtcli.cli.ask import show_answer
    from vtcli.cli.console import make_console
    from vtcli.settings import load_settings
    from vtcli.trace.text import sanitise_line

    path = Path(output)
    question, choices = _write(path, replace=yes)
    if not quiet:
        import shlex

        words = ["vt", "ask", str(path), question, *(word for choice in choices for word in ("-c", choice))]
        console = make_console(color, stderr=True)
        console.print(f"wrote {sanitise_line(str(path))}, a clip of moving shapes; now asking:", soft_wrap=True)
        console.print(sanitise_line(f"$ {shlex.join([*words, '-m', MODEL])}"), style="bold", soft_wrap=True)
    device_used = device or load_settings().device or "auto"
    asked = Question(video=path, question=question, model=MODEL, choices=tuple(choices), device=device_used)
    show_answer(asked, json, quiet, color)


def _write(path: Path, replace: bool) -> tuple[str, list[str]]:
    """Writes the sample clip; returns the question and its choices.

    Raises VtError if the clip cannot be written, or if another file is there and `replace` is false.
    """
    import os
    import tempfile

    from vtcli.errors import VtError
    from vtcli.shapes.demo import write_demo

    try:
        with tempfile.TemporaryDirectory(prefix=".vt-demo-", dir=path.absolute().parent) as folder:
            fresh = type(path)(folder) / "clip.mp4"
            asked = write_demo(fresh)
            if path.exists() and not replace and path.read_bytes() != fresh.read_bytes():
                raise VtError(f"{path} exists and is another file: --yes writes over it, --output FILE elsewhere")
            os.replace(fresh, path)
    except OSError as error:
        raise VtError(f"{path} cannot be written: {error.strerror or error}") from error
    return asked
