"""What is found on this machine and what `vt models rm` takes away: never more than what was named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.machine import TAKEN
from vtcli.models import hub_cache, store
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.reference import parse

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs links")


def cached(name: str, commits: dict[str, Path], main: str = "") -> Path:
    """A repository in the cache with a snapshot of each commit, whose files are links to blobs as the library's are."""
    folder = hub_cache.repository_folder(name)
    (folder / "blobs").mkdir(parents=True)
    for commit, published in commits.items():
        (folder / "snapshots" / commit).mkdir(parents=True)
        for file in (file for file in published.iterdir() if file.suffix in TAKEN):
            blob = folder / "blobs" / f"{commit}-{file.name}"
            shutil.copy(file, blob)
            (folder / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{blob.name}")
    hub_cache.point(folder, "main", main or list(commits)[-1])
    return folder


def made(name: str, commit: str, ggufs: Path, quant: str, age: int = 0) -> Path:
    """An export as `vt pull` leaves it, made `age` seconds ago."""
    folder = store.exports_folder(name, commit)
    folder.mkdir(parents=True, exist_ok=True)
    for file in ggufs.glob("*.gguf"):
        if "mmproj" in file.name or quant in file.name:
            shutil.copy(file, folder)
    stamp = folder.stat().st_mtime - age
    os.utime(folder, (stamp, stamp))
    return folder


def found(text: str) -> list[tuple[str, str | None]]:
    reference = parse(text)
    assert reference is not None
    return sorted((str(one), one.revision) for one in store.find(reference))


def remove(text: str) -> int:
    reference = parse(text)
    assert reference is not None
    return sum(store.remove(one) for one in store.find(reference))


@pytest.fixture
def tiny() -> Path:
    return open_checkpoint("tiny").path


def test_the_target_of_a_link_out_of_the_cache_stays(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(tiny, mine)
    snapshot = hub_cache.repository_folder("acme/m") / "snapshots" / "c1"
    snapshot.mkdir(parents=True)
    for file in mine.iterdir():
        (snapshot / file.name).symlink_to(file)
    before = sorted(mine.iterdir())
    assert remove("acme/m") == 0
    assert sorted(mine.iterdir()) == before
    assert not any(snapshot.glob("*.safetensors"))


def test_a_revision_is_found_and_removed_alone(tiny: Path) -> None:
    folder = cached("acme/m", {"old": tiny, "new": tiny})
    assert found("acme/m") == [("acme/m", "new")]
    assert found("acme/m@old") == [("acme/m", "old")]
    assert found("acme/m@other") == []
    assert open_checkpoint("acme/m@old").revision == "old"
    assert remove("acme/m@old") > 9e6
    assert [place.name for place in (folder / "snapshots").iterdir()] == ["new"]
    assert found("acme/m") == [("acme/m", "new")]


def test_an_older_revision_shows_when_main_is_gone(tiny: Path) -> None:
    cached("acme/m", {"old": tiny, "new": tiny})
    remove("acme/m")
    assert found("acme/m") == [("acme/m", "old")]
    remove("acme/m")
    assert not hub_cache.repository_folder("acme/m").exists()


def test_a_shared_projector_of_an_older_revision_stays(ggufs: Path) -> None:
    folder = cached("acme/m-GGUF", {"old": ggufs, "new": ggufs})
    assert remove("acme/m-GGUF@old:q8_0") > 0
    assert found("acme/m-GGUF@old") == [("acme/m-GGUF:f16", "old")]
    assert any((folder / "snapshots" / "old").glob("mmproj*"))


def test_other_repositories_do_not_have_the_revision(tiny: Path, ggufs: Path) -> None:
    cached("acme/m", {"c1": tiny})
    cached("acme/m-GGUF", {"c2": ggufs})
    assert found("acme/m:q8_0") == [("acme/m-GGUF:q8_0", "c2")]
    assert found("acme/m@c1:q8_0") == []
    assert found("acme/m@c1") == [("acme/m", "c1")]


def test_a_revision_is_no_way_out_of_the_folder() -> None:
    for text in ("a/b@..", "a/b@.", "a/b@x/../y", "a/b@../x"):
        assert parse(text) is None


def test_of_several_exports_that_of_main_is_used(ggufs: Path) -> None:
    for commit, age in (("b", 30), ("c", 10), ("a", 20)):
        made("acme/m", commit, ggufs, "Q8_0", age)
    made("acme/m", "b", ggufs, "F16", age=30)
    assert found("acme/m") == [("acme/m:f16", "b"), ("acme/m:q8_0", "c")]  # the latest of each type
    hub_cache.point(store.exports_folder("acme/m"), "main", "a")
    assert found("acme/m") == [("acme/m:f16", "b"), ("acme/m:q8_0", "a")]
    assert found("acme/m@b:q8_0") == [("acme/m:q8_0", "b")]
    assert {(str(one), one.revision) for one in store.installed() if one.where == store.MADE} == set(found("acme/m"))
    for _ in range(3):
        remove("acme/m")
    assert not store.exports_folder("acme/m").exists()


def test_an_export_of_a_tag_is_found_without_its_source(ggufs: Path) -> None:
    made("acme/m", "c1", ggufs, "Q8_0")
    hub_cache.point(store.exports_folder("acme/m"), "v1", "c1")
    assert found("acme/m@v1:q8_0") == [("acme/m:q8_0", "c1")]
    assert found("acme/m@v2:q8_0") == []


def test_a_damaged_entry_of_the_cache_stops_no_other(tiny: Path, ggufs: Path) -> None:
    cached("acme/good", {"c": tiny})
    broken = cached("acme/broken", {"c": ggufs})
    for blob in (broken / "blobs").glob("*mmproj*"):
        blob.unlink()
    binary = cached("acme/binary", {"c": tiny})
    (binary / "refs" / "main").write_bytes(b"\xff\x00")
    (binary / "snapshots" / "c" / "config.json").unlink()
    (binary / "snapshots" / "c" / "config.json").mkdir()
    hub_cache.repository_folder("acme/file").write_text("no folder")
    looped = cached("acme/loop", {"c": tiny})
    (looped / "snapshots" / "c" / "x.gguf").symlink_to("x.gguf")
    names = {one.name for one in store.installed()}
    assert {"tiny", "acme/good", "acme/loop"} <= names and not names & {"acme/broken", "acme/binary", "acme/file"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_entry_of_the_cache_stops_no_other(tiny: Path) -> None:
    cached("acme/good", {"c": tiny})
    blob = next((cached("acme/secret", {"c": tiny}) / "blobs").glob("*safetensors"))
    blob.chmod(0)
    assert {one.name for one in store.installed()} == {"tiny", "acme/good"}
