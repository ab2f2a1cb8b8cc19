"""OSC 8 targets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.trace.links import time_link


@pytest.fixture(autouse=True)
def no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VT_LINK", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "box")


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_default() -> None:
    assert time_link("/v/a b#é.mp4", 12.5) == "file://box/v/a%20b%23%C3%A9.mp4#t=12.5"
    assert time_link("/v/a.mp4", 0) == "file://box/v/a.mp4#t=0"
    assert time_link("/v/a.mp4", 1 / 3) == "file://box/v/a.mp4#t=0.333"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    link = time_link("-v.mp4", 2)
    assert link is not None and link.endswith("/-v.mp4#t=2")
    assert Path(unquote(urlsplit(link).path)) == tmp_path / "-v.mp4" or os.name == "nt"


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_link("/v/a.mp4", 2, "mpv://{path}?t={seconds}&h={host}") == "mpv:///v/a.mp4?t=2&h=box"
    monkeypatch.setenv("VT_LINK", "x:{url}")
    assert time_link("/v/{seconds}.mp4", 2) == "x:file://box/v/%7Bseconds%7D.mp4"
    assert time_link("/v/a.mp4", 2, "x:{nope}{path.__class__}{") == "x:{nope}{path.__class__}{"
    for off in ("", "  "):
        monkeypatch.setenv("VT_LINK", off)
        assert time_link("/v/a.mp4", 2) is None


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda name: "\0" not in name), st.text())
def test_a_link_is_printable_ascii(name: str, template: str) -> None:
    for link in (time_link(name, 1), time_link(name, 1, template)):
        assert link is None or re.fullmatch(r"[!-~]*", link)
