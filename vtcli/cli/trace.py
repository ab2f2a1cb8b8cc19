"""`vt trace`: renders or parses raw model output written elsewhere."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, cast

import typer

from vtcli.cli.options import ChoiceOption, ColorOption, DebugOption, JsonOption

SCHEMA = "vt.trace/1"
_BLOCK = 1 << 16


def trace(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-", help="File of raw model output, or - for standard input, the default.", show_default=False
        ),
    ] = "-",
    choice: ChoiceOption = None,
    video: Annotated[
        str | None, typer.Option("--video", metavar="PATH", help="Video that the times link to.", show_default=False)
    ] = None,
    json: JsonOption = False,
    color: ColorOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Render or parse raw model output written elsewhere.

    The trace goes to stderr, the answer to stdout.
    """
    from vtcli.cli.console import make_console, warn
    from vtcli.prompt import build_prompt
    from vtcli.trace.answers import settle
    from vtcli.trace.model import build_trace
    from vtcli.trace.parser import TraceParser
    from vtcli.trace.terminal import TraceRenderer
    from vtcli.trace.text import dump_json, sanitise

    choices = choice or []
    build_prompt("?", choices)  # refuses the same choices as `vt ask`
    renderer = None if json else TraceRenderer(make_console(color, stderr=True), video)
    parser = TraceParser()
    events = []
    try:
        for chunk in _text(file):
            new = parser.feed(chunk) if chunk else parser.close()
            events += new
            if renderer:
                for event in new:
                    renderer.event(event)
    finally:
        if renderer:
            renderer.close()
    parsed = build_trace(events)
    answer, letter = settle(parsed, choices)
    if json:
        record = {
            "schema": SCHEMA,
            "segments": [segment.as_json() for segment in parsed.segments],
            "reasoning": parsed.reasoning,
            "answer": answer,
            "choice": letter,
            "format_ok": parsed.format_ok,
        }
        print(dump_json(record, sys.stdout.encoding))
        return
    if answer:
        print(sanitise(answer))
    else:
        warn("the text holds no answer")
    if answer and choices and letter is None:
        warn("the answer names none of the choices")


def _text(file: str) -> Iterator[str]:
    """Yields the text of `file` as it arrives, then "". Raises VtError if it cannot be read or is not text."""
    from vtcli.errors import VtError

    name = "standard input" if file == "-" else f"'{file}'"
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    try:
        with _open(file) as stream:
            while block := stream.read1(_BLOCK):  # returns what has arrived: a model may still be writing
                if b"\0" in block:
                    raise VtError(f"{name} is not text: give the raw text a model wrote, in UTF-8")
                if text := decoder.decode(block):
                    yield text
    except FileNotFoundError:
        raise VtError(f"no such file: {name}") from None
    except OSError as error:
        if Path(file).is_dir():  # the operating system's own error differs between systems
            raise VtError(f"{name} is a folder: give the file that holds the text") from None
        raise VtError(f"{name} cannot be read: {error.strerror or error}") from None
    if text := decoder.decode(b"", final=True):
        yield text
    yield ""


def _open(file: str) -> AbstractContextManager[io.BufferedReader]:
    if file == "-":
        return nullcontext(cast(io.BufferedReader, typer.get_binary_stream("stdin")))
    return open(file, "rb")
