"""`vt export`: the files hold the checkpoint's own values, are whole or not there, and nothing is guessed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vtcli.errors import ModelError, UsageError, VtError
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.gguf import read_gguf

gguf = pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")
torch = pytest.importorskip("torch")

from vtcli.models.export import export, run  # noqa: E402
from vtcli.models.export.stored import cast  # noqa: E402


def values(file: Path) -> dict[str, Any]:
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(file).tensors}


def stored(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return {name: value.float().numpy() for name, value in tensors.items()}


@pytest.fixture
def folder(random_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    copy = tmp_path / "model"
    shutil.copytree(random_checkpoint, copy)
    return copy


def change(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_every_value_arrives(random_checkpoint: Path, tmp_path: Path) -> None:
    made = export(open_checkpoint(random_checkpoint), tmp_path, "F32")
    theirs, text, vision = stored(random_checkpoint), values(made.text), values(made.projector)
    count = sum(array.size for array in [*text.values(), *vision.values()])
    assert count == sum(array.size for name, array in theirs.items() if name != "lm_head.weight")
    layer = "model.layers.1."
    np.testing.assert_array_equal(text["blk.1.ffn_down.weight"], theirs[f"{layer}mlp.down_proj.weight"])
    np.testing.assert_array_equal(text["blk.1.attn_k.bias"], theirs[f"{layer}self_attn.k_proj.bias"])
    query, key, value = np.split(theirs["visual.blocks.0.attn.qkv.weight"], 3)
    for letter, expected in zip("qkv", (query, key, value), strict=True):
        np.testing.assert_array_equal(vision[f"v.blk.0.attn_{letter}.weight"], expected)
    patch = theirs["visual.patch_embed.proj.weight"]
    for name, frame in (("v.patch_embd.weight", 0), ("v.patch_embd.weight.1", 1)):
        np.testing.assert_array_equal(vision[name], patch[:, :, frame])


def test_names_that_transformers_5_gives_are_known_too(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = export(open_checkpoint(folder), tmp_path / "before", "F16")
    longer = {"visual.": "model.visual.", "model.": "model.language_model."}
    for shard in folder.glob("*.safetensors"):
        tensors = {
            next((new + name.removeprefix(old) for old, new in longer.items() if name.startswith(old)), name): tensor
            for name, tensor in load_file(shard).items()
        }
        save_file(tensors, shard, {"format": "pt"})
    after = export(open_checkpoint(folder), tmp_path / "after", "F16")
    assert read_gguf(after.text).tensors == read_gguf(before.text).tensors
    assert read_gguf(after.projector).tensors == read_gguf(before.projector).tensors


def test_bfloat16_is_not_rounded_on_its_way(folder: Path, tmp_path: Path) -> None:
    import transformers

    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    for file in folder.glob("model*"):
        file.unlink()
    model.save_pretrained(folder)
    made = export(open_checkpoint(folder), tmp_path / "out", "BF16")
    text, theirs = values(made.text), stored(folder)
    np.testing.assert_array_equal(text["token_embd.weight"], theirs["model.embed_tokens.weight"])
    assert read_gguf(made.text).tensors["token_embd.weight"].type == "BF16"


@pytest.mark.parametrize("target", ["F16", "BF16"])
def test_numbers_are_rounded_as_torch_rounds(target: str) -> None:
    exact = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 3
    exact[:3] = [1 + 2**-8, 1 + 3 * 2**-8, 0]  # halves, to the even neighbour
    kind = {"F16": torch.float16, "BF16": torch.bfloat16}[target]
    ours = cast(exact, "F32", target)
    theirs = torch.from_numpy(exact).to(kind)
    np.testing.assert_array_equal(ours.view(np.int16), theirs.view(torch.int16).numpy())
    back = cast(ours, target, "F32")
    np.testing.assert_array_equal(back, theirs.float().numpy())


def test_quantised_values_are_near(random_checkpoint: Path, tmp_path: Path) -> None:
    exact = values(export(open_checkpoint(random_checkpoint), tmp_path / "a", "F32").text)
    near = values(export(open_checkpoint(random_checkpoint), tmp_path / "b", "Q8_0").text)
    assert exact.keys() == near.keys()
    for name, array in exact.items():
        np.testing.assert_allclose(near[name], array, atol=np.abs(array).max() / 100)


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("vision_config", "window_size", 224, "windows are not 112 pixels"),
        ("vision_config", "fullatt_block_indexes", [0], "full attention is not in every n-th"),
        ("vision_config", "fullatt_block_indexes", [], "full attention is not in every n-th"),
        ("vision_config", "hidden_act", "gelu", "the activation is not SiLU"),
        ("text_config", "use_sliding_window", True, "looks back through a window"),
        ("text_config", "rope_parameters", {"rope_type": "yarn", "mrope_section": [2, 3, 3]}, "positions are scaled"),
        ("text_config", "rope_parameters", {"mrope_section": [2, 3, 4]}, "positions have no three parts"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    folder: Path, tmp_path: Path, part: str, key: str, value: Any, says: str
) -> None:
    change(folder, lambda config: config[part].update({key: value}))
    with pytest.raises(ModelError, match=f"cannot be a GGUF file: .*{says}"):
        export(open_checkpoint(folder), tmp_path / "out", "F16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("text_config", "rope_parameters", "x", "positions have no three parts"),
        ("text_config", "rope_parameters", {"mrope_section": [2, 3, 3]}, r"lacks a usable size \('rope_theta'\)"),
        ("text_config", "rms_norm_eps", None, "lacks a usable size"),
        ("text_config", "max_position_embeddings", -5, "max_position_embeddings is -5"),
        ("text_config", "max_position_embeddings", 2**40, "max_position_embeddings is 1099511627776"),
        ("text_config", "hidden_size", float("inf"), "lacks a usable size"),
        ("vision_config", "hidden_size", None, "lacks a usable size"),
    ],
)
def test_odd_values_are_refused(folder: Path, tmp_path: Path, part: str, key: str, value: Any, says: str) -> None:
    change(folder, lambda config: config[part].update({key: value}))
    with pytest.raises(ModelError, match=says) as error:
        export(open_checkpoint(folder), tmp_path / "out", "F16")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_no_longest_context_is_the_familys(folder: Path, tmp_path: Path) -> None:
    change(folder, lambda config: config["text_config"].update(max_position_embeddings=None))
    made = read_gguf(export(open_checkpoint(folder), tmp_path / "out", "F16").text)
    assert made.metadata["qwen2vl.context_length"] == 32768


def test_an_end_beyond_the_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2**40]}))
    with pytest.raises(ModelError, match=r"ends a reply with token 1099511627776 and has \d+ embeddings"):
        export(open_checkpoint(folder), tmp_path / "out", "F16")


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["normalizer"] = {"type": "NFKC"}
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="tokenizer that is not Qwen2's"):
        export(open_checkpoint(folder), tmp_path / "out", "F16")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_published_tokenizer_is_qwens(folder: Path, tmp_path: Path) -> None:
    """Qwen's own tokenizer.json says `trim_offsets: false`, which changes no token."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][1]["trim_offsets"] = False
    file.write_text(json.dumps(tokenizer))
    assert export(open_checkpoint(folder), tmp_path / "out", "F16").text.exists()


def test_what_config_json_may_leave_out(folder: Path, tmp_path: Path) -> None:
    change(folder, lambda config: config["vision_config"].pop("window_size"))
    assert export(open_checkpoint(folder), tmp_path / "out", "F16").text.exists()
    change(folder, lambda config: config["vision_config"].pop("depth"))
    with pytest.raises(ModelError, match="lacks a usable size"):
        export(open_checkpoint(folder), tmp_path / "again", "F16")


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.bias", "visual.blocks.0.norm2.weight"]
)
def test_a_tensor_that_is_missing_is_missed(folder: Path, tmp_path: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    for shard in folder.glob("*.safetensors"):
        save_file({key: value for key, value in load_file(shard).items() if key != name}, shard, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 tensors, first .*: it is incomplete"):
        export(open_checkpoint(folder), tmp_path / "out", "F16")


def test_numbers_beyond_f16_are_not_made_infinite(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for shard in folder.glob("*.safetensors"):
        tensors = load_file(shard)
        if "model.embed_tokens.weight" in tensors:
            tensors["model.embed_tokens.weight"][0, 0] = 1e6
        save_file(tensors, shard, {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"embed_tokens\.weight: 1e\+06 is beyond what F16 can hold; export it as BF16"
    ):
        export(open_checkpoint(folder), tmp_path / "out", "F16")
    assert list((tmp_path / "out").iterdir()) == []


def test_tensors_that_have_no_place_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    save_file({"model.language_model.layers.0.self_attn.q_norm.weight": torch.ones(4)}, folder / "extra.safetensors")
    index["weight_map"]["model.language_model.layers.0.self_attn.q_norm.weight"] = "extra.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"q_norm.weight has no place in a GGUF file"):
        export(open_checkpoint(folder), tmp_path / "out", "F16")


def test_files_are_kept_unless_told_otherwise(random_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(random_checkpoint)
    made = export(checkpoint, tmp_path, "F16")
    before = made.text.read_bytes()
    with pytest.raises(VtError, match="is there already: --yes writes over it"):
        export(checkpoint, tmp_path, "F16")
    again = export(checkpoint, tmp_path, "Q8_0")  # the projector is the same, and stays
    assert again.projector == made.projector and again.text != made.text
    export(checkpoint, tmp_path, "F16", replace=True)
    assert made.text.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        {made.text.name, again.text.name, made.projector.name}
    )


def test_a_projector_of_other_weights_is_not_taken_for_its_own(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    export(open_checkpoint(folder), tmp_path / "out", "F16")
    for shard in folder.glob("*.safetensors"):
        save_file({name: tensor + 1 for name, tensor in load_file(shard).items()}, shard, {"format": "pt"})
    with pytest.raises(VtError, match=r"mmproj.* is there already"):
        export(open_checkpoint(folder), tmp_path / "out", "Q8_0")


def test_nothing_is_left_of_an_export_that_fails(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "_quantise", fail)
    with pytest.raises(VtError, match="cannot be written: No space left on device"):
        export(open_checkpoint(random_checkpoint), tmp_path, "Q8_0")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small(random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(VtError, match=r"takes \d+\.\d GB in .* while it is made, 0\.0 GB are free"):
        export(open_checkpoint(random_checkpoint), tmp_path, "Q4_K_M")


def test_unknown_types_and_gguf_files(random_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(random_checkpoint)
    with pytest.raises(UsageError, match="--quant Q9_0: choose one of F32, F16"):
        export(checkpoint, tmp_path, "Q9_0")
    made = export(checkpoint, tmp_path, "F16")
    with pytest.raises(ModelError, match="is a GGUF file already"):
        export(open_checkpoint(made.text), tmp_path, "Q8_0")


def test_the_command_knows_the_types_of_the_library() -> None:
    from typing import get_args

    from vtcli.cli.export import Quant

    assert get_args(Quant) == tuple(run.QUANTS)


def test_the_source_is_told(random_checkpoint: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--A--Model-7B" / "snapshots" / "abc123"
    shutil.copytree(random_checkpoint, snapshot)
    made = export(open_checkpoint(snapshot), tmp_path / "out", "F16")
    assert made.text.name == "Model-7B-F16.gguf"
    for file in (made.text, made.projector):
        facts = read_gguf(file).metadata
        assert (facts["general.name"], facts["vtcli.source.revision"]) == ("A/Model-7B", "abc123")
    assert open_checkpoint(made.text).revision == "abc123"
    tiny = export(open_checkpoint("tiny"), tmp_path / "tiny", "F16")
    assert read_gguf(tiny.text).metadata["general.license"] == "Apache-2.0"
    assert open_checkpoint(tiny.text).scope == open_checkpoint("tiny").scope != ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """As wide as a 7B, with 1 and with 3 layers: what is held at once is a tensor or two."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from _wide import make_checkpoint

    peaks = []
    for layers in (1, 3):
        folder = make_checkpoint(tmp_path / f"wide-{layers}", layers, 8)
        script = (
            "from pathlib import Path\nfrom vtcli.models.checkpoint import open_checkpoint\n"
            "from vtcli.models.export import export\n"
            f"export(open_checkpoint({str(folder)!r}), Path({str(tmp_path / 'out')!r}), 'BF16', replace=True)\n"
            # ru_maxrss would be that of the process that started this one.
            "status = Path('/proc/self/status').read_text().splitlines()\n"
            "print(next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM')))\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
        shutil.rmtree(folder)
    largest = 152064 * 3584 * 2
    assert peaks[1] < 2 * largest + 300 * 10**6
    assert peaks[1] - peaks[0] < 50 * 10**6
