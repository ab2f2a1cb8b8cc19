"""Entry point of `vt` and `python -m vtcli`: runs the app and turns every failure into one line.

Exit codes (docs/cli.md): 0 done, 1 failed, 2 wrong usage, 3 partly failed (batch, eval), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer import TyperException

INTERRUPTED = 130
_RESET_TERMINAL = "\x1b[0m\x1b[?25h"  # default colours, cursor shown


def main() -> int:
    """Console script: runs `vt` with this process's arguments and returns its exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the locale may not be able to encode a file name or an answer
            stream.reconfigure(errors="backslashreplace")
    status = run(sys.argv[1:])
    if status == INTERRUPTED or threading.active_count() > 1 or "torch" in sys.modules:
        # Exit without interpreter shutdown: the work is done and the user waits. Tearing torch down takes a second, and
        # can crash while another thread is still importing torch.
        _remove_copies()
        sys.stderr.flush()
        os._exit(status)
    return status


def _remove_copies() -> None:
    """Removes the copies of videos that background threads still write: os._exit runs no exit handlers."""
    source = sys.modules.get("vtcli.video.source")
    if source is not None:  # otherwise nothing was copied
        from vtcli.signals import uninterrupted

        with suppress(KeyboardInterrupt), uninterrupted():  # a second Ctrl-C
            source.remove_copies()


def _open_closed_streams() -> None:
    """Redirects closed streams (`>&-`) to the null device: without a stderr, print would write errors to stdout."""
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def run(arguments: Sequence[str]) -> int:
    """Runs `vt` with `arguments`, e.g. ["ask", "clip.mp4", "why?"]; prints any error and returns the exit code."""
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # The reader (`vt ask … | head`) closed the pipe. The flush at exit must not write to it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _explain(error, debug="--debug" in arguments)


def _invoke(arguments: Sequence[str]) -> int:
    from vtcli.cli.main import app

    status = app(list(arguments), prog_name="vt", standalone_mode=False)
    if status == INTERRUPTED:  # the app turns Ctrl-C into this code
        return _interrupted()
    return status if isinstance(status, int) else 0


def _interrupted() -> int:
    if sys.stderr.isatty():
        sys.stderr.write(("" if os.environ.get("TERM") == "dumb" else _RESET_TERMINAL) + "\n")
    return INTERRUPTED


def _explain(error: Exception, debug: bool) -> int:
    import typer

    from vtcli.errors import VtError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, VtError):
        message, status = str(error), error.exit_code
    elif isinstance(error, typer.TyperException):
        message, status = _usage(error), error.exit_code
    elif isinstance(error, OSError):  # the system refused (disk of stdout full, name too long): not a bug
        message, status = f"{error.filename or 'input or output'}: {error.strerror or error}", 1
    else:
        hint = "" if debug else " (run again with --debug for the traceback)"
        message, status = f"internal: {type(error).__name__}: {error}{hint}", 1
    print(f"vt: error: {_one_line(message)}", file=sys.stderr)
    return status


def _usage(error: TyperException) -> str:
    """Returns the parser's message and the `--help` command to read next."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see {context.command_path if context else 'vt'} --help)"


def _one_line(message: str) -> str:
    """Returns `message` on one line without control characters, since it may quote a file name or a model's text."""
    return "".join(c for c in " ".join(message.split()) if c.isprintable())


if __name__ == "__main__":
    sys.exit(main())
