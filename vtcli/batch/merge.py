"""Merges the outputs of a run's shards, as if it had been one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtcli.batch.output import Output
from vtcli.errors import UsageError, VtError
from vtcli.video.text import shown


@dataclass(frozen=True)
class Merged:
    """The counts of a merge: lines written, lines among them with errors, and items without a line."""

    lines: int
    failed: int
    missing: int


def merge(parts: Sequence[Path], into: Path, gaps: bool = False) -> Merged:
    """Writes the lines of `parts` to the new file `into`, in the order of the items.

    Nothing else can write `into` meanwhile. Raises VtError where the files are not shards of one run, hold an item
    twice or, unless `gaps`, miss an item, and where `into` cannot be written; UsageError where `into` holds something
    or a file is given twice.
    """
    if len({os.path.realpath(path) for path in parts}) < len(parts):
        raise UsageError("a file is named twice: name each shard's output once")
    found: dict[int, tuple[Output, str]] = {}
    run: dict[str, Any] | None = None
    first = ""
    failed = 0
    with ExitStack() as stack:
        whole = Output(into)
        stack.callback(whole.close)
        if os.path.getsize(into):  # a merge that was killed leaves an empty file
            raise UsageError(f"{shown(into)} exists: give --output the name of a new file")
        for path in parts:
            output = Output(path, there=True)
            stack.callback(output.close)
            for number, record in output.read():
                where = f"{shown(path)}, line {number}"
                place = _place(record, where)
                this = {key: place[key] for key in ("count", "items", "list")}
                run, first = run or this, first or where
                if this != run:
                    raise VtError(f"{where} is not of the run that {first} is of: their items or settings differ")
                if place["item"] in found:
                    raise VtError(f"{where}: this item is in another of the files too; name each shard's output once")
                found[place["item"]] = output, record["id"]
                failed += record.get("error") is not None
        if run is None:
            raise VtError("there is nothing to merge: the files hold no line")
        if missing := run["items"] - len(found):
            gap = next(number for number in range(run["items"]) if number not in found)
            if not gaps:
                raise VtError(
                    f"{missing} of {run['items']} items are in none of the files, the first is number {gap + 1}: "
                    f"name all {run['count']} shards' outputs, finish the shards, or allow it with --gaps"
                )
        whole.write_all(_merged(found[number] for number in sorted(found)))
    return Merged(len(found), failed, missing)


def _place(record: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the line's shard record: its position among all items. Raises VtError if that is missing or damaged."""
    place = record.get("shard")
    if not isinstance(place, dict):
        raise VtError(f"{where} is not of a shard: only outputs of --shard can be merged")
    numbers = [place.get(key) for key in ("index", "count", "item", "items")]
    if any(type(number) is not int for number in numbers) or not isinstance(place.get("list"), str):
        raise VtError(f"{where}: its shard cannot be read; the line is damaged")
    if not 0 <= place["item"] < place["items"]:
        raise VtError(f"{where}: it is item {place['item'] + 1} of {place['items']}; the line is damaged")
    return place


def _merged(lines: Iterable[tuple[Output, str]]) -> Iterator[dict[str, Any]]:
    """Yields the lines' records without the shard records, so that a run without --shard can continue the file."""
    for output, id in lines:
        record = output.get(id)
        del record["shard"]
        yield {"schema": record["schema"], "id": id, **record}  # these first, though another tool may have sorted them
