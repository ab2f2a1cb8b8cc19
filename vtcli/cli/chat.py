"""`vt chat`: follow-up questions about one video."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vtcli.cli import options
from vtcli.cli.asking import Asking, asks_a_model, make_question

if TYPE_CHECKING:
    from rich.console import Console

    from vtcli.chat import Chat
    from vtcli.history import History

PROMPT = "> "
HELP = """\
/frames      show the times of the frames the model sees
/history     toggle sending earlier questions and answers with each question
/save FILE   write the answers so far to a new FILE, one JSON object per line
/quit        end the chat, as Ctrl-D does
Any other line is a question. Ctrl-C stops a reply."""


@asks_a_model()
def chat(
    video: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO",
            help="Video file, http(s) URL, or folder of numbered pictures (needs --fps).",
            show_default=False,
        ),
    ],
    *,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Send earlier questions and answers with each question (default: ask each question on its own).",
            rich_help_panel=options.ANSWER_PANEL,
        ),
    ] = False,
    asking: Asking,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object per line for each answer.", rich_help_panel=options.OUTPUT_PANEL
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the answers.", rich_help_panel=options.OUTPUT_PANEL)
    ] = False,
    color: options.ColorOption = "auto",
    debug: options.DebugOption = False,
) -> None:
    """Ask several questions about one video, which is read and encoded once.

    Questions may be typed or come from a pipe, one per line.
    """
    from vtcli.errors import UsageError
    from vtcli.video.source import STDIN

    if video == STDIN:
        raise UsageError("vt chat reads the questions from standard input: name the video")
    base = make_question(asking, video, "", keep=not asking.no_cache, quiet=quiet, color=color)
    from vtcli.chat import Chat
    from vtcli.cli.console import make_console
    from vtcli.settings import history as kept_history

    past = kept_history()
    with Chat(base, history) as conversation:
        talk = _Talk(conversation, make_console(color, stderr=True), make_console(color), json, quiet, past)
        if talk.run():
            raise typer.Exit(1)


class _Talk:
    """The question-and-answer loop, on a terminal or from a pipe."""

    def __init__(self, chat: Chat, aside: Console, out: Console, json: bool, quiet: bool, past: History | None) -> None:
        self._chat = chat
        self._past = past
        self._aside = aside
        self._out = out
        self._json = json
        self._quiet = quiet
        self._said: set[str] = set()
        self._typed = sys.stdin.isatty()

    def run(self) -> bool:
        """Runs until the questions end; returns whether a question from a pipe failed."""
        failed = False
        if self._typed and not self._quiet:
            self._note(f"{self._facts()}; ask about it, /help says what else there is, Ctrl-D ends")
        for line in self._lines():
            if line.startswith("/"):
                if line == "/quit":
                    break
                self._command(*line.split(maxsplit=1))
                continue
            try:
                failed |= not self._question(line)
            except KeyboardInterrupt:
                if not self._typed:
                    raise
                self._note("stopped")
        return failed and not self._typed

    def _lines(self) -> Iterator[str]:
        """The lines of input, without blank ones."""
        for line in _typed() if self._typed else _piped():
            if line.strip():
                yield line.rstrip()

    def _question(self, text: str) -> bool:
        """Asks one question and prints the answer; returns whether it was answered."""
        from vtcli.cli.ask import print_answer
        from vtcli.cli.follow import Follower
        from vtcli.cli.history import remember
        from vtcli.errors import EngineError, UsageError, VtError
        from vtcli.trace.text import dump_json, sanitise

        chat = self._chat
        error: VtError | None = None
        with Follower(self._aside, facts=not chat.records) as follower:
            if not self._quiet:
                follower.planned(chat.plan)
            chat.wait()  # outside the try: a model that cannot be loaded ends the chat
            try:
                record = chat.ask(text, None if self._quiet else follower)
            except (UsageError, EngineError) as raised:
                error, record = raised, chat.failure(text, raised)
        if error is not None:
            self._error(str(error))
        for warning in record["warnings"]:
            if warning not in self._said and not self._quiet:
                self._said.add(warning)
                self._note(f"vt: warning: {warning}", "yellow")
        if self._json:
            print(dump_json(record, sys.stdout.encoding), flush=True)
        elif record["answer"]:
            print_answer(sanitise(record["answer"]), self._out)
            sys.stdout.flush()  # a program at the other end of a pipe may wait for it
        remember(self._past, record, self._quiet)
        return error is None

    def _command(self, name: str, argument: str = "") -> None:
        from vtcli.trace.times import format_time

        chat = self._chat
        if name == "/help":
            self._aside.print(HELP)
        elif name == "/frames":
            plan, times = chat.frames.plan, " ".join(format_time(time) for time in chat.frames.times)
            self._note(f"{len(plan.indices)} frames of {plan.width}×{plan.height} at {times}")
        elif name == "/history":
            chat.history = not chat.history
            self._note("earlier turns go along" if chat.history else "each question is asked by itself")
        elif name == "/save" and argument:
            self._save(argument)
        else:
            self._error("there is no such command, /help says which there are; a blank before it makes it a question")

    def _save(self, name: str) -> None:
        from vtcli.trace.text import dump_json

        try:
            name = os.path.expanduser(name)
            with open(name, "x", encoding="utf-8", newline="\n") as file:
                file.writelines(dump_json(record) + "\n" for record in self._chat.records)
        except (OSError, ValueError) as error:  # ValueError: the name holds a NUL
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._error(f"{name} cannot be written: {why}")
        else:
            self._note(f"{len(self._chat.records)} answers in {name}")

    def _facts(self) -> str:
        info = self._chat.plan.info
        return f"{info.path}, {info.duration:.1f} s"

    def _note(self, text: str, style: str = "dim") -> None:
        from vtcli.trace.text import sanitise_line

        self._aside.print(sanitise_line(text), style=style, soft_wrap=True)

    def _error(self, text: str) -> None:
        self._note(f"vt: error: {text}", "red")


def _typed() -> Iterator[str]:
    """Lines typed on a terminal, with line editing if Python has readline."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() line editing
    while True:
        try:
            if sys.stdout.isatty():
                yield input(PROMPT)
            else:  # input() would print the prompt to stdout, among the answers
                print(PROMPT, end="", file=sys.stderr, flush=True)
                yield input()
        except KeyboardInterrupt:  # discards the line being typed
            print(file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return


def _piped() -> Iterator[str]:
    """Lines of a pipe or file as they arrive, without a byte order mark at its beginning.

    A line that is not valid UTF-8 becomes a question that is refused.
    """
    for number, line in enumerate(sys.stdin.buffer):
        yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode("utf-8", "surrogateescape")
