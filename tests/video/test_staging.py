"""Hidden folders beside the files they become: removed at the end, or by the next run, and never somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vtcli.video.staging import remove_stale, staged


def is_ours(name: str) -> bool:
    return name.endswith(".png")


def left(folder: Path, name: str = ".vt-0123abcd") -> Path:
    """What a killed run leaves."""
    place = folder / name
    place.mkdir()
    (place / ".lock").touch()
    (place / "1.png").write_text("half a picture")
    return place


def test_it_is_there_only_while_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(tmp_path) as place:
        assert list(tmp_path.iterdir()) == [place]
        (place / "1.png").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left(tmp_path)
    (left(tmp_path, ".vt-00000000") / "1.png").unlink()
    (tmp_path / "mine").touch()
    remove_stale(tmp_path, is_ours)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_what_another_run_is_writing_stays(tmp_path: Path) -> None:
    with staged(tmp_path) as place:
        (place / "1.png").touch()
        remove_stale(tmp_path, is_ours)
        assert sorted(path.name for path in place.iterdir()) == [".lock", "1.png"]


@pytest.mark.parametrize("name", [".vt-0123abc", ".vt-0123abcde", ".vt-0123ABCD", ".vt-export-", "vt-0123abcd"])
def test_folders_with_other_names_stay(tmp_path: Path, name: str) -> None:
    place = left(tmp_path, name)
    remove_stale(tmp_path, is_ours)
    assert len(list(place.iterdir())) == 2


def test_folders_that_hold_other_things_stay(tmp_path: Path) -> None:
    (left(tmp_path, ".vt-00000001") / "notes.txt").touch()
    (left(tmp_path, ".vt-00000002") / "2.png").mkdir()
    (left(tmp_path, ".vt-00000003") / ".lock").unlink()
    (tmp_path / ".vt-00000004").mkdir()
    (tmp_path / ".vt-00000005").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    remove_stale(tmp_path, is_ours)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    precious = left(elsewhere)
    (folder / ".vt-00000001").symlink_to(precious)
    (left(folder, ".vt-00000002") / "2.png").symlink_to(precious / "1.png")
    lock = left(folder, ".vt-00000003") / ".lock"
    lock.unlink()
    lock.symlink_to(precious / ".lock")
    before = sorted(tmp_path.rglob("*"))
    remove_stale(folder, is_ours)
    assert sorted(tmp_path.rglob("*")) == before
