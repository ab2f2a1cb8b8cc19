"""`vt eval compare`: which of two models is better, by how much, and whether the difference is noise."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vtcli.cli import options
from vtcli.cli.eval import shared


def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="Run folder or predictions file of model A.", show_default=False)
    ],
    b: Annotated[
        Path,
        typer.Argument(
            metavar="B", help="Run folder or predictions file of model B, on the same questions.", show_default=False
        ),
    ],
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames", metavar="N", help="Frame count to compare, for runs with several.", show_default=False
        ),
    ] = None,
    extract: shared.ExtractOption = None,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Compare two models on the same questions, answer by answer."""
    from vtcli.cli.console import warn
    from vtcli.evals.compare import compare, side
    from vtcli.scoring.official import rules_named
    from vtcli.trace.text import dump_json, sanitise

    rules = rules_named(extract or ["strict"])
    record = compare(side(a, frames, rules), side(b, frames, rules))
    if json:
        print(dump_json(record, sys.stdout.encoding))
    else:
        print(sanitise("\n".join(_lines(record))))
    for name in ("a", "b"):
        if left := record[name]["n"] - record["common"]:
            warn(f"{left} questions of {name.upper()} are not in the other and do not count")


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    from vtcli.evals.tables import signed_range, text_table

    a, b, metric = record["a"], record["b"], record["metric"]
    unit = "%" if metric == "accuracy" else "mIoU"
    for letter, one in (("A", a), ("B", b)):
        frames = f", {one['frames']} frames" if one["frames"] is not None else ""
        yield f"{letter}  {one[metric]:.2f} {unit}  {one['name']}{frames}"
    yield (
        f"B - A {record['difference']:+.2f} points, 95 % interval {signed_range(record['interval'])}, "
        f"on {record['common']} questions"
    )
    if metric == "accuracy":
        right = f"only A is right on {record['only_a']}, only B on {record['only_b']}"
        yield f"{right}: p = {record['p']:.2g} (McNemar, exact)"
    else:
        yield f"p = {record['p']:.2g} (permutation test)"
    yield {
        "a": "A is better.",
        "b": "B is better.",
        "unclear": "That may be noise: these questions do not tell which is better.",
    }[record["verdict"]]
    if record["by_category"]:
        rows = [
            (name, part["n"], f"{part['difference']:+.2f}", signed_range(part["interval"]), f"{part['p_holm']:.2g}")
            for name, part in record["by_category"].items()
        ]
        yield ""
        yield text_table(("category", "n", "B - A", "95 % interval", "p (Holm)"), rows)
