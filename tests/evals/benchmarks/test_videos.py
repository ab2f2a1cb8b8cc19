"""Videos are found however they were unpacked, never outside their folder, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vtcli.errors import DataError
from vtcli.evals.benchmarks.videos import Videos


def put(folder: Path, *names: str) -> Videos:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return Videos(folder)


def name(path: Path | None, folder: Path) -> str | None:
    return path.relative_to(folder).as_posix() if path else None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("abc", "videos/abc.mp4"),
        ("abc.mp4", "videos/abc.mp4"),
        ("abc.avi", "videos/abc.mp4"),
        ("/some/where/abc.mp4", "videos/abc.mp4"),
        ("a\\b\\abc.mp4", "videos/abc.mp4"),
        ("/MMVU/videos/Chemistry/0.mp4", "Chemistry/0.mp4"),
        ("Physics/0.mp4", "Physics/0.webm"),
        ("0.mp4", None),
        ("0.webm", "Physics/0.webm"),
        ("clip.1", "clip.1.mp4"),
        ("ABC", None),
        ("readme", None),
        ("", None),
    ],
)
def test_find(tmp_path: Path, wanted: str, found: str | None) -> None:
    videos = put(
        tmp_path, "videos/abc.mp4", "Chemistry/0.mp4", "Physics/0.webm", "Art/0.mp4", "clip.1.mp4", "readme.txt"
    )
    assert name(videos.find(wanted), tmp_path) == found


@pytest.mark.parametrize("wanted", ["../secret.mp4", "/etc/passwd", "..", ".", "a/../../secret", "\0", "secret\n"])
def test_nothing_outside_the_folder(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "secret.mp4").touch()
    assert put(tmp_path / "videos", "abc.mp4").find(wanted) is None


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "abc.mp4").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "videos").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "disk" / "gone").symlink_to(tmp_path / "nowhere")
    assert Videos(tmp_path / "set").find("abc") == tmp_path / "set" / "videos" / "abc.mp4"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Videos(tmp_path / "no")


def test_folders_of_pictures_are_told_from_files(tmp_path: Path) -> None:
    videos = put(tmp_path, "tvqa/frames/abc/00001.jpg", "clips/abc.mp4", "tvqa/frames/abc.1/00001.PNG", "x/none.txt")
    assert name(videos.pictures("abc"), tmp_path) == "tvqa/frames/abc" == name(videos.pictures("/a/abc.mp4"), tmp_path)
    assert name(videos.pictures("abc.1"), tmp_path) == "tvqa/frames/abc.1"
    assert name(videos.find("abc"), tmp_path) == "clips/abc.mp4" and videos.pictures("x") is None
    assert put(tmp_path, "other/abc/1.jpg").pictures("abc") is None  # of two no saying which
    assert name(videos.pictures("../abc"), tmp_path) == "tvqa/frames/abc"
