"""The shipped entries are whole, the user's own are read, and what is wrong in one is said in a line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vtcli.errors import ModelError, VtError
from vtcli.machine import Place
from vtcli.models import catalogue, overview, store
from vtcli.models.checkpoint import open_checkpoint, planned_checkpoint
from vtcli.models.choose import best, variants
from vtcli.models.reference import parse
from vtcli.prompt import PROMPTS


def test_shipped_entries_are_whole() -> None:
    known = catalogue.entries()
    assert {"tiny", "video-thinker-7b", "video-r1-7b", "qwen2.5-vl-7b", "qwen2.5-vl-3b"} <= set(known)
    for entry in known.values():
        assert entry.description and entry.licence and entry.prompt in PROMPTS
        if entry.repository:
            assert entry.unverified, "what lies on the hub could not be seen from where this was written"
            assert planned_checkpoint(entry).weights.parameters > 3e9


def test_sizes_agree_with_published_files() -> None:
    """ggml-org/Qwen2.5-VL-7B-Instruct-GGUF: 4,683,072,032 bytes of text model, 1,354,163,040 of projector."""
    sizes = {one.quant: one.bytes for one in variants(catalogue.entries()["qwen2.5-vl-7b"])}
    assert sizes["Q4_K_M"] == pytest.approx(4_683_072_032 + 1_354_163_040, rel=0.01)
    assert planned_checkpoint(catalogue.entries()["qwen2.5-vl-3b"]).weights.parameters == 3_754_622_976


def user_entry(home: Path, text: str) -> Path:
    folder = home / "models"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(text)
    return folder


def test_an_entry_of_the_users_own_folder(vt_home: Path, tmp_path: Path) -> None:
    tiny = open_checkpoint("tiny").path
    user_entry(vt_home, f'path = "{tiny}"\nlicence = "mine"\nprompt = "plain"\n')
    found = open_checkpoint("mine")
    assert (found.name, found.path, found.prompt) == ("mine", tiny, "plain")


def test_a_model_in_the_users_own_folder_is_taken_unasked_and_never_removed(vt_home: Path, tmp_path: Path) -> None:
    assert overview.default_model([]) is None  # the embedded one is not
    mine = tmp_path / "mine"
    shutil.copytree(open_checkpoint("tiny").path, mine)
    user_entry(vt_home, f'path = "{mine}"\nlicence = "mine"\nprompt = "plain"\n')
    found = overview.default_model([])
    assert found is not None and (found.name, found.path, found.where) == ("mine", mine, store.OWN)
    with pytest.raises(VtError, match="is yours"):
        store.remove(found)
    (embedded,) = (one for one in store.installed() if one.name == "tiny")
    with pytest.raises(VtError, match="comes with vt"):
        store.remove(embedded)


def test_an_entry_of_ones_own_goes_before_the_shipped_one(vt_home: Path) -> None:
    user_entry(vt_home, 'name = "video-r1-7b"\nrepository = "me/Copy"\nrevision = "v2"\n')
    found = parse("video-r1-7b")
    assert found and (found.repository, found.revision) == ("me/Copy", "v2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml", "cannot be read"),
        ('licens = "x"', "no such key 'licens'"),
        ("licence = 3", "licence has a value of another kind"),
        ('prompt = "rude"', "prompt is one of video-thinker, video-r1, plain, not rude"),
        ('[[gguf]]\nrepository = "a/b"', "needs repository and quants"),
    ],
)
def test_a_broken_entry_is_named(vt_home: Path, text: str, says: str) -> None:
    user_entry(vt_home, text)
    with pytest.raises(ModelError, match=rf"mine\.toml.*{says}") as raised:
        catalogue.entries()
    assert "\n" not in str(raised.value)


def test_a_name_with_capitals_is_found(vt_home: Path) -> None:
    tiny = open_checkpoint("tiny").path
    folder = user_entry(vt_home, 'repository = "me/Copy"\n')
    (folder / "mine.toml").rename(folder / "MyModel.toml")
    shutil.copytree(tiny, folder / "MyModel")
    for text in ("MyModel", "mymodel", "MYMODEL:q8_0"):
        found = parse(text)
        assert found and found.entry and (found.name, found.repository) == ("mymodel", "me/Copy")
        assert found.entry.path == folder / "MyModel"


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_what_is_no_entry_is_passed_over(vt_home: Path) -> None:
    """Lock files of editors are links to nothing; a folder may have any name."""
    folder = user_entry(vt_home, 'repository = "me/Copy"\n')
    (folder / ".#mine.toml").symlink_to("me@host.123:45")
    (folder / "gone.toml").symlink_to("nowhere")
    (folder / ".hidden.toml").write_text("not toml")
    (folder / "folder.toml").mkdir()
    assert set(catalogue.entries()) == {*catalogue.entries(catalogue.folder()), "mine"}


@pytest.mark.parametrize("config", ["", "[config]\nmax_position_embeddings = 4096\n", "[config]\nhidden_size = 0\n"])
def test_an_entry_without_sizes_breaks_nothing(vt_home: Path, config: str) -> None:
    user_entry(vt_home, f'repository = "me/Copy"\n{config}')
    cpu = Place("transformers", "cpu", 10**12)
    (row,) = (row for row in overview.rows([cpu]) if row.name == "mine")
    assert (row.quant, row.memory, row.here) == (None, None, None)
    with pytest.raises(ModelError, match=r"the catalogue entry of mine lacks sizes to plan with .*: run vt pull mine"):
        best(variants(catalogue.entries()["mine"]), [cpu])


def test_an_absent_folder_is_named(vt_home: Path, tmp_path: Path) -> None:
    user_entry(vt_home, f'path = "{(tmp_path / "usb").as_posix()}"\n')
    with pytest.raises(ModelError, match=r"^mine is not there: its catalogue entry names .*usb"):
        best(variants(catalogue.entries()["mine"]), [Place("transformers", "cpu", 10**12)])


@pytest.mark.parametrize(
    ("text", "name", "revision", "quant"),
    [
        ("tiny", "tiny", None, None),
        ("video-thinker-7b:q4_k_m", "video-thinker-7b", None, "Q4_K_M"),
        ("Video-Thinker-7B", "video-thinker-7b", None, None),
        ("a/b@refs/pr/1:Q8_0", "a/b", "refs/pr/1", "Q8_0"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", None, None),
    ],
)
def test_names(text: str, name: str, revision: str | None, quant: str | None) -> None:
    found = parse(text)
    assert found and (found.name, found.revision, found.quant) == (name, revision, quant)


@pytest.mark.parametrize(
    "text", ["unheard-of", "./a", "a/b/c", "../a", "C:model", "a b", "", "a/b:", "/a/b", "a/..", "é/b"]
)
def test_what_is_no_name(text: str) -> None:
    assert parse(text) is None
