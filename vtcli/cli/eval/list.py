"""`vt eval list`: the benchmarks, where they come from, and how well their file formats are known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtcli.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "vt.benchmarks/1"
_KNOWN = {
    "file": "checked on real annotations",
    "source": "read in the benchmark's own code or card",
    "description": "known by description only",
}


def list_benchmarks(
    name: Annotated[
        str | None, typer.Argument(metavar="BENCHMARK", help="Benchmark to describe in full.", show_default=False)
    ] = None,
    json: options.JsonOption = False,
    debug: options.DebugOption = False,
) -> None:
    """List the benchmarks, or show where one comes from, its licence and how it is scored."""
    from vtcli.evals.benchmarks.table import BENCHMARKS, benchmark_named
    from vtcli.trace.text import dump_json

    wanted = [benchmark_named(name)] if name else list(BENCHMARKS.values())
    records = [_record(benchmark) for benchmark in wanted]
    if json:
        print(dump_json({"schema": SCHEMA, "benchmarks": records}, sys.stdout.encoding))
        return
    print("\n".join(_details(records[0]) if name else _lines(records)))


def _record(benchmark: Any) -> dict[str, Any]:
    from vtcli.evals.benchmarks.published import published

    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "kind": benchmark.kind,
        "annotations": benchmark.annotations,
        "files": list(benchmark.files),
        "hub": benchmark.hub,
        "videos": benchmark.videos,
        "licence": benchmark.licence,
        "format": benchmark.known,
        "categories": benchmark.by,
        "scorer": benchmark.rule,
        "official_prompt": benchmark.official is not None,
        "published": published(benchmark.name, 16),
        "note": benchmark.note,
    }


def _lines(records: list[dict[str, Any]]) -> Iterator[str]:
    from vtcli.evals.tables import text_table

    rows = [(r["name"], r["kind"], r["scorer"], r["format"], r["licence"]) for r in records]
    rows.append(("shapes", "choice", "strict", "file", "generated, always there"))
    rows.append(("jsonl:FILE", "choice", "strict", "file", "one's own questions"))
    yield text_table(("benchmark", "kind", "scorer", "format", "licence"), rows, left=5)
    yield ""
    yield "format: file = checked on real annotations, source = read in the benchmark's code or card,"
    yield "description = known by description only. vt eval list BENCHMARK tells where one comes from."


def _details(record: dict[str, Any]) -> Iterator[str]:
    yield record["title"]
    facts = {
        "annotations": record["annotations"],
        "files": ", ".join(record["files"]) or "any name",
        "videos": record["videos"],
        "licence": record["licence"],
        "format": _KNOWN[record["format"]],
        "categories": record["categories"] or "none",
        "own scorer": record["scorer"] if record["scorer"] != "strict" else "none known",
        "own prompt": "--prompt official" if record["official_prompt"] else "none known",
    }
    for title, text in facts.items():
        yield f"  {title:<12} {text}"
    if record["published"]:
        best = record["published"]
        yield f"  {'published':<12} " + ", ".join(
            f"{model} {best[model]:.2f}" for model in ("Qwen2.5-VL-7B", "Video-R1-7B", "Video-Thinker-7B")
        )
    if record["note"]:
        yield f"  {record['note']}"
