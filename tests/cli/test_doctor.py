"""`vt doctor`: the record as documented, and every finding in what people read."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run
from tests.e2e.conftest import validate

pytest.importorskip("torch")


def test_the_record_is_as_documented(run: Run) -> None:
    done = run("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    validate(record, "doctor")
    assert not record["terminal"]["is_terminal"] and not record["terminal"]["links"]


def test_every_finding_is_shown_with_its_command(run: Run) -> None:
    record = json.loads(run("doctor", "--json").out)
    done = run("doctor")
    assert done.code == 0 and "\x1b" not in done.out
    for finding in [each for part in ("engines", "devices", "readers", "models") for each in record[part]]:
        mark = "ok" if finding["ready"] else "no"
        line = next(line for line in done.out.splitlines() if line.startswith(f"  {mark}  {finding['name']} "))
        assert finding["detail"] in line
        assert finding["fix"] is None or f"run: {finding['fix']}" in done.out


def test_colours_on_demand(run: Run) -> None:
    assert "\x1b[32mok" in run("doctor", "--color", "always").out
