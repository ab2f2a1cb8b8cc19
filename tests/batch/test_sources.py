"""What SOURCE names: folders, patterns, lists, hostile names."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from vtcli.batch.sources import find_videos
from vtcli.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", "sub/c.webm", "sub/.hidden.mp4", ".trash/d.mp4", "sub/deep/e.mov"):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "tree" / "code.ts").write_text("export {}")
    (tmp_path / "tree" / "stream.ts").write_bytes(b"G\x40\0\0")
    (tmp_path / "tree" / "sub" / "circle").symlink_to(tmp_path / "tree", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tree"


def test_a_folder_gives_its_videos_in_order(tree: Path) -> None:
    found = find_videos(["tree"])
    expected = ["tree/a.MKV", "tree/b.mp4", "tree/stream.ts", "tree/sub/c.webm", "tree/sub/deep/e.mov"]
    assert [name.replace(os.sep, "/") for name in found.videos] == expected
    assert (found.warnings, found.unread) == ((), 0)


def test_a_pattern_gives_what_matches(tree: Path) -> None:
    assert find_videos(["tree/**/*.mo*"]).videos == (os.path.join("tree", "sub", "deep", "e.mov"),)
    (tree / "[1].mp4").touch()
    assert find_videos(["tree/[1].mp4"]).videos == ("tree/[1].mp4",)  # a file of that name goes before
    with pytest.raises(UsageError, match="nothing has such a name"):
        find_videos(["tree/*.xyz"])


def test_a_video_named_twice_is_there_once(tree: Path) -> None:
    found = find_videos(["./tree/b.mp4", "tree", "http://h/v.mp4", "http://h/v.mp4"])
    assert found.videos[0] == "./tree/b.mp4"
    assert len(found.videos) == 6
    assert found.warnings == ("videos that are named more than once, and asked about once: 2",)


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX")
@pytest.mark.parametrize("separator", [b"\n", b"\0", b"\r\n"])
def test_a_list_holds_any_name(tree: Path, monkeypatch: pytest.MonkeyPatch, separator: bytes) -> None:
    names = [b"x y.mp4", b"\xff\xfe.mp4", b"\x1b[31m.mp4", b"#.mp4", b"http://h/a.mp4", b"-", b"@list"]
    if separator == b"\0":
        names.append(b"two\nlines.mp4")
    (tree / "list").write_bytes(separator.join([*names, b""]))
    expected = tuple(os.fsdecode(name) if name != b"-" else "./-" for name in names)
    assert find_videos([f"@{tree}/list"]).videos == expected
    for name in ("-", "@-"):
        stdin = io.TextIOWrapper(io.BytesIO((tree / "list").read_bytes()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert find_videos([name]).videos == expected


def test_what_gives_nothing_is_said(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_bytes(b"\n\n")
    assert find_videos(["tree/b.mp4", "empty"]).warnings == ("empty holds no video",)
    for source, said in (("empty", "empty holds no video"), ("@list", "names no video"), ("@none", "No such file")):
        with pytest.raises(UsageError, match=said):
            find_videos([source])


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may look into everything")
def test_a_folder_that_cannot_be_looked_into_is_counted(tree: Path) -> None:
    (tree / "sub").chmod(0)
    try:
        found = find_videos(["tree"])
    finally:
        (tree / "sub").chmod(0o755)
    assert found.unread == 1
    assert "sub cannot be looked into: Permission denied" in found.warnings[0]
