"""Options and constants shared by the subcommands of `vt eval`."""

from __future__ import annotations

from typing import Annotated

import typer

FAILED = 3
"""Exit code if some items failed (docs/cli.md)."""

ExtractOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extract",
        metavar="RULE",
        help="Rule that reads answers: strict, paper, the name of an official scorer, or all; repeat to compare.",
        show_default="strict",
    ),
]
_RUN_HELP = "Rule that reads answers, as for `vt eval score`; repeat to compare, the first one counts."
RunExtractOption = Annotated[
    list[str] | None,
    typer.Option("--extract", metavar="RULE", help=_RUN_HELP, show_default="paper, strict, the benchmark's own"),
]
ReportExtractOption = Annotated[
    list[str] | None,
    typer.Option("--extract", metavar="RULE", help=_RUN_HELP, show_default="the rules of the run"),
]
