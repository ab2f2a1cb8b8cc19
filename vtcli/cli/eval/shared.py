"""What the subcommands of `vt eval` share."""

from __future__ import annotations

from typing import Annotated

import typer

FAILED = 3
"""Exit code where some items failed (docs/cli.md)."""

ExtractOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extract",
        metavar="RULE",
        help="How answers are read from replies: strict, paper, a benchmark's own scorer, or all; repeat to compare.",
        show_default="strict",
    ),
]
RunExtractOption = Annotated[
    list[str] | None,
    typer.Option(
        "--extract",
        metavar="RULE",
        help="How answers are read; the first rule counts, the others stand beside it.",
        show_default="paper, strict, the benchmark's own",
    ),
]
