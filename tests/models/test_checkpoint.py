from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import CONFIG, nested, write_json, write_weights
from vtcli.errors import ModelError
from vtcli.models import catalogue
from vtcli.models.checkpoint import FRAME_PIXELS, open_checkpoint, planned_checkpoint
from vtcli.models.sizes import count_parameters
from vtcli.models.template import find_template, render


@pytest.mark.parametrize("style", [dict, nested])
def test_reads_both_file_layouts(folder: Path, style: Any) -> None:
    write_json(folder / "config.json", style(CONFIG))
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.name, checkpoint.path, checkpoint.revision) == ("a-model", folder, None)
    assert checkpoint.text_config["hidden_size"] == 64
    assert (checkpoint.patch_size, checkpoint.temporal_patch_size, checkpoint.merge_size) == (14, 2, 2)
    assert (checkpoint.tokens_per_second, checkpoint.video_token_id) == (2, 9)
    assert checkpoint.eos_token_ids == (7, 5)
    assert checkpoint.image_mean == (0.1, 0.2, 0.3)
    assert checkpoint.image_std == (0.26862954, 0.26130258, 0.27577711)
    assert (checkpoint.weights.parameters, checkpoint.weights.files) == (6, (folder / "model.safetensors",))


def test_the_real_configuration(material: Path, tmp_path: Path) -> None:
    folder = tmp_path / "7b"
    shutil.copytree(material / "tokenizer" / "qwen25vl_fblissjr", folder)
    with pytest.raises(ModelError, match=r"incomplete: missing model-00001-of-00005.safetensors, .* and 2 more"):
        open_checkpoint(folder)
    for number in range(1, 6):
        write_weights(folder / f"model-0000{number}-of-00005.safetensors")
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.video_token_id, checkpoint.tokens_per_second) == (151656, 2)
    assert checkpoint.eos_token_ids == (151645, 151643)
    assert (checkpoint.min_pixels, checkpoint.max_pixels) == (3136, 12845056)
    assert checkpoint.frame_pixels() == (FRAME_PIXELS, FRAME_PIXELS)
    assert checkpoint.frame_pixels(50176) == (50176, 50176)
    assert checkpoint.frame_pixels(401408) == (FRAME_PIXELS, 401408)


def test_frames_stay_within_what_the_checkpoint_was_made_for(folder: Path) -> None:
    assert open_checkpoint(folder).frame_pixels() == (12544, 12544)
    assert open_checkpoint(folder).frame_pixels(6272) == (6272, 6272)


def test_processor_values_of_every_age(folder: Path) -> None:
    write_json(folder / "video_preprocessor_config.json", {"size": {"shortest_edge": 8, "longest_edge": 16}})
    assert (open_checkpoint(folder).min_pixels, open_checkpoint(folder).max_pixels) == (8, 16)
    write_json(folder / "processor_config.json", {"video_processor": {"max_pixels": 32, "image_mean": [1, 1, 1]}})
    assert open_checkpoint(folder).max_pixels == 32 and open_checkpoint(folder).image_mean == (1, 1, 1)


def test_a_training_checkpoint_without_processor_or_generation_config(folder: Path) -> None:
    for name in ("preprocessor_config.json", "generation_config.json"):
        (folder / name).unlink()
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.image_mean[0], checkpoint.max_pixels, checkpoint.eos_token_ids) == (0.48145466, 12845056, (7,))


def test_a_snapshot_of_the_hugging_face_cache_tells_its_revision(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--ShijianW01--Video-Thinker-7B" / "snapshots" / "abc123"
    shutil.copytree(folder, snapshot)
    checkpoint = open_checkpoint(snapshot)
    assert (checkpoint.name, checkpoint.revision) == ("ShijianW01/Video-Thinker-7B", "abc123")


def test_no_such_model() -> None:
    with pytest.raises(ModelError, match=r"^nothing/here is no folder, and no model that is on this machine: run"):
        open_checkpoint("nothing/here")
    with pytest.raises(ModelError, match=r"^no such model: nothing \(a folder, a .gguf file, OWNER/REPO of"):
        open_checkpoint("nothing")


def spoil(folder: Path, what: str) -> None:
    weights, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    match what:
        case "no weights":
            weights.unlink()
        case "pickles":
            weights.rename(folder / "pytorch_model.bin")
        case "lfs pointer":
            weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        case "empty file":
            weights.write_bytes(b"")
        case "cut short":
            weights.write_bytes(weights.read_bytes()[:-5])
        case "no config":
            (folder / "config.json").unlink()
        case "broken config":
            (folder / "config.json").write_text('{"model_type": ')
        case "config is a list":
            (folder / "config.json").write_text("[]")
        case "other architecture":
            write_json(folder / "config.json", CONFIG | {"model_type": "llama"})
        case "bad value":
            write_json(folder / "config.json", CONFIG | {"video_token_id": []})
        case "bad mean":
            write_json(folder / "preprocessor_config.json", {"image_mean": [1]})
        case "no eos":
            (folder / "generation_config.json").unlink()
            write_json(folder / "config.json", {key: value for key, value in CONFIG.items() if key != "eos_token_id"})
        case "shard outside":
            weights.rename(folder.parent / "model.safetensors")
            write_json(index, {"weight_map": {"w": "../model.safetensors"}})
        case "shard is a pickle":
            weights.rename(folder / "a.bin")
            write_json(index, {"weight_map": {"w": "a.bin"}})
        case "shard missing":
            weights.rename(folder / "model-1.safetensors")
            write_json(index, {"weight_map": {"w": "model-1.safetensors", "v": "model-2.safetensors"}})
        case "index is not one":
            weights.unlink()
            write_json(index, {"weight_map": 3})


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("no weights", "holds no weights"),
        ("pickles", r"only pickled weights \(pytorch_model.bin\)"),
        ("lfs pointer", "not a safetensors file"),
        ("empty file", "not a safetensors file"),
        ("cut short", "cut short"),
        ("no config", "not a model folder"),
        ("broken config", "config.json is not JSON"),
        ("config is a list", "does not hold a JSON object"),
        ("other architecture", "is a llama model: vt runs the Qwen2.5-VL family"),
        ("bad value", "cannot be read"),
        ("bad mean", "cannot be read"),
        ("no eos", "no eos_token_id"),
        ("shard outside", "not a safetensors file of this folder"),
        ("shard is a pickle", "not a safetensors file of this folder"),
        ("shard missing", "missing model-2.safetensors"),
        ("index is not one", "not a safetensors index"),
    ],
)
def test_bad_folders(folder: Path, what: str, says: str) -> None:
    spoil(folder, what)
    with pytest.raises(ModelError, match=says) as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype": "F32", "shape": [6], "data_offsets": [0, 24.0]}',
        '{"dtype": "F32", "shape": [6], "data_offsets": [0, "24"]}',
        '{"dtype": "F32", "shape": [6], "data_offsets": [0, true]}',
        '{"dtype": "F32", "shape": [6], "data_offsets": [-4, 24]}',
        '{"dtype": "F32", "shape": [6], "data_offsets": [24]}',
        '{"dtype": "F32", "shape": [6.0], "data_offsets": [0, 24]}',
        '{"dtype": "F32", "shape": ["6"], "data_offsets": [0, 24]}',
        '{"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 24]}',
        '{"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]}',
        '{"dtype": "F32", "shape": 6, "data_offsets": [0, 24]}',
        '{"dtype": ["F32"], "shape": [6], "data_offsets": [0, 24]}',
        '{"shape": [6], "data_offsets": [0, 24]}',
        '{"dtype": "F32", "shape": [6], "data_offsets": [0, Infinity]}',
        "[1, 2]",
        "[" * 5000 + "]" * 5000,
    ],
)
def test_odd_values_in_a_header(folder: Path, entry: str) -> None:
    header = f'{{"w": {entry}}}'.encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    with pytest.raises(ModelError, match=r"model.safetensors is not a safetensors file") as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "values", "says"),
    [
        ("config.json", {"num_attention_heads": 0}, "num_attention_heads is 0"),
        ("config.json", {"num_attention_heads": None}, "cannot be read"),
        ("config.json", {"video_token_id": -1}, "video_token_id is -1"),
        ("config.json", {"vision_config": {"patch_size": 0}}, "patch_size is 0"),
        ("config.json", {"vision_config": {"temporal_patch_size": 0}}, "temporal_patch_size is 0"),
        ("config.json", {"vision_config": {"spatial_merge_size": -2}}, "spatial_merge_size is -2"),
        ("config.json", {"vision_config": {"num_heads": 0}}, "num_heads is 0"),
        ("config.json", {"vision_config": {"tokens_per_second": 0}}, "tokens_per_second is 0"),
        ("config.json", {"vision_config": {"tokens_per_second": float("nan")}}, "tokens_per_second is nan"),
        ("preprocessor_config.json", {"max_pixels": float("inf")}, "cannot be read"),
        ("preprocessor_config.json", {"max_pixels": -1}, "max_pixels is -1"),
        ("generation_config.json", {"eos_token_id": -1}, "eos_token_id is -1"),
        ("generation_config.json", {"eos_token_id": [7, -1]}, "eos_token_id is -1"),
    ],
)
@pytest.mark.parametrize("weights", [True, False])
def test_odd_values_in_a_configuration(folder: Path, file: str, values: Any, says: str, weights: bool) -> None:
    whole = {"vocab_size": 300, "vision_config": CONFIG["vision_config"] | {"depth": 2}}
    write_json(folder / "config.json", CONFIG | whole)
    write_json(folder / file, (CONFIG | whole if file == "config.json" else {}) | values)
    with pytest.raises(
        ModelError, match=f"a configuration that cannot be read: .*{says.replace('cannot be read', '')}"
    ):
        open_checkpoint(folder, weights=weights)


def test_an_empty_list_of_ends_is_none(folder: Path) -> None:
    write_json(folder / "generation_config.json", {"eos_token_id": []})
    assert open_checkpoint(folder).eos_token_ids == (7,)
    write_json(folder / "config.json", CONFIG | {"eos_token_id": []})
    with pytest.raises(ModelError, match="no eos_token_id"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ 1 // 0 }}", "division"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion"),
        ("{{ 'a' * 9 + 1 }}", "chat template failed"),
        ("{{ messages[0].nothing.more }}", "chat template failed"),
        ("{{" + "(" * 5000, "chat template failed"),
        ("\udce9", "the chat template is not UTF-8"),
    ],
)
def test_a_template_that_fails(template: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as error:
        render(template, [{"role": "user", "content": []}], {})
    assert "\n" not in str(error.value)


def test_templates_of_odd_kinds(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"chat_template": ["x", {"name": "default", "template": "good"}]})
    assert find_template(folder) == "good"
    write_json(folder / "tokenizer_config.json", {"chat_template": ["x"]})
    with pytest.raises(ModelError, match="has no chat template"):
        find_template(folder)
    (folder / "chat_template.jinja").write_bytes(b"{# \xe9 #}")
    with pytest.raises(ModelError, match=r"chat_template.jinja cannot be read"):
        find_template(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "generation_config.json"])
def test_json_that_is_nested_too_deeply(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_text('{"weight_map": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ModelError, match=rf"{name} is not"):
        open_checkpoint(folder)


def test_a_file_is_not_a_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file"):
        open_checkpoint(folder / "config.json")


def test_catalogue(folder: Path) -> None:
    place = folder.parent
    (place / "a-model.toml").write_text('name = "a-model"\nlicence = "Apache-2.0"\nscope = "moving shapes only"\n')
    (place / "absent.toml").write_text('revision = "r1"\n')
    found = catalogue.entries(place)
    assert list(found) == ["a-model", "absent"]
    assert (found["a-model"].path, found["a-model"].scope) == (folder, "moving shapes only")
    assert (found["absent"].path, found["absent"].revision) == (None, "r1")
    (place / "broken.toml").write_text("=")
    with pytest.raises(ModelError, match=r"broken\.toml cannot be read"):
        catalogue.entries(place)


def test_a_catalogue_name_is_a_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "a-model.toml").write_text('revision = "r1"\n')
    (folder.parent / "absent.toml").write_text("")
    monkeypatch.setattr(catalogue, "folder", lambda: folder.parent)
    checkpoint = open_checkpoint("a-model")
    assert (checkpoint.name, checkpoint.revision, checkpoint.path) == ("a-model", "r1", folder)
    with pytest.raises(ModelError, match="absent is not on this machine"):
        open_checkpoint("absent")
    with pytest.raises(ModelError, match="one of: a-model, absent"):
        open_checkpoint("other")


@pytest.mark.parametrize("key", ["patch_size", "temporal_patch_size", "merge_size"])
def test_a_processor_of_other_sizes(folder: Path, key: str) -> None:
    vision = CONFIG["vision_config"] | {"patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
    write_json(folder / "config.json", CONFIG | {"vision_config": vision})
    sizes = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    write_json(folder / "preprocessor_config.json", sizes)
    assert open_checkpoint(folder).patch_size == 14
    write_json(folder / "preprocessor_config.json", sizes | {key: 16})
    with pytest.raises(ModelError, match=f"its processor has {key} 16"):
        open_checkpoint(folder)


def test_parameters_are_counted_without_weights() -> None:
    """`tiny` has as many as its file says; the 7B as many as its published files."""
    tiny = open_checkpoint("tiny")
    assert count_parameters(tiny.config, tiny.text_config, tiny.vision_config) == tiny.weights.parameters
    seven = planned_checkpoint(catalogue.entries()["video-thinker-7b"])
    assert seven.weights.parameters == 8_292_166_656 and not seven.weights.files


def test_weights_may_be_missing_where_only_a_plan_is_made(folder: Path) -> None:
    whole = {"vocab_size": 300, "vision_config": CONFIG["vision_config"] | {"depth": 2}}
    write_json(folder / "config.json", CONFIG | whole)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        open_checkpoint(folder)
    assert open_checkpoint(folder, weights=False).weights.parameters > 0
    write_json(folder / "config.json", CONFIG)
    with pytest.raises(ModelError, match="'depth'"):
        open_checkpoint(folder, weights=False)
