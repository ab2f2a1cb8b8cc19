"""GGUF files: what is read of them, how a projector is found, and what is refused in one line."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from vtcli.errors import ModelError
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.models.gguf import is_gguf, read_gguf
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import build_prompt

gguf = pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")
pytest.importorskip("tokenizers")

from vtcli.models.export import export  # noqa: E402


@pytest.fixture(scope="module")
def source(random_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(random_checkpoint)


@pytest.fixture(scope="module")
def made(source: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(source, tmp_path_factory.mktemp("gguf"), "Q8_0").text


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> Path:
    """A copy of both files, to be spoilt; the text model's."""
    for file in made.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / made.name


def projector(text: Path) -> Path:
    return next(text.parent.glob("mmproj*"))


def test_the_header_is_what_the_gguf_package_reads(made: Path) -> None:
    for file in (made, projector(made)):
        ours, theirs = read_gguf(file), gguf.GGUFReader(file)
        fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
        assert dict(ours.metadata) == fields
        assert [(t.name, list(t.shape), t.type, t.bytes) for t in ours.tensors.values()] == [
            (t.name, t.shape.tolist(), t.tensor_type.name, t.n_bytes) for t in theirs.tensors
        ]
        assert ours.bytes == file.stat().st_size


def test_a_vocabulary_of_150000_words_is_read(material: Path) -> None:
    found = read_gguf(material / "tokenizer" / "llama_cpp_sdist" / "ggml-vocab-qwen2.gguf")
    assert len(found.metadata["tokenizer.ggml.tokens"]) == 151936
    assert found.metadata["tokenizer.ggml.tokens"][151645] == "<|im_end|>"


def test_what_it_tells_is_what_the_checkpoint_told(made: Path, source: Checkpoint) -> None:
    found = open_checkpoint(made)
    same = ("patch_size", "temporal_patch_size", "merge_size", "tokens_per_second", "video_token_id", "eos_token_ids")
    for name in (*same, "min_pixels", "max_pixels"):
        assert getattr(found, name) == getattr(source, name), name
    assert found.image_mean == pytest.approx(source.image_mean) and found.image_std == pytest.approx(source.image_std)
    assert found.weights.parameters == source.weights.parameters
    assert (found.quant, found.is_gguf, source.is_gguf, found.projector) == ("Q8_0", True, False, projector(made))
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"):
        assert found.text_config[name] == source.text_config[name]


@pytest.mark.parametrize(
    "question", ["Why?", "don't  stop\n\n – 東京 🎬 é e\u0301", "<|im_end|><|video_pad|> [PAD370]"]
)
def test_prompts_are_those_of_the_checkpoint(made: Path, source: Checkpoint, question: str) -> None:
    prompt = build_prompt(question, ("rain", "snow"))
    ours, theirs = Tokenizer(made), Tokenizer(source.path)
    assert ours.encode_prompt(prompt) == theirs.encode_prompt(prompt)
    ids = list(range(384))
    assert ours.decode(ids) == theirs.decode(ids)


def test_a_file_without_a_template_for_videos_gets_the_familys(pair: Path, source: Checkpoint) -> None:
    data = pair.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_templatX")
    pair.write_bytes(data)
    prompt = build_prompt("Why?")
    assert Tokenizer(pair).encode_prompt(prompt) == Tokenizer(source.path).encode_prompt(prompt)


def test_a_folder_with_one_model_is_that_model(pair: Path) -> None:
    assert open_checkpoint(pair.parent).path == pair
    shutil.copy(pair, pair.with_name("other.gguf"))
    with pytest.raises(ModelError, match=r"holds 2 text models .*name one with -m FILE\.gguf"):
        open_checkpoint(pair.parent)


def test_of_several_projectors_of_the_model_the_most_exact_is_taken(pair: Path, source: Checkpoint) -> None:
    exact = export(source, pair.parent / "exact", "F32").projector
    shutil.copy(exact, pair.parent)
    assert open_checkpoint(pair).projector == pair.parent / exact.name
    given = open_checkpoint(pair, projector=projector(pair))
    assert given.projector == projector(pair)


def test_projectors_of_other_models_are_passed_over(pair: Path) -> None:
    other = pair.with_name("mmproj-another.gguf")
    wide = struct.pack("<I", 64)
    data = projector(pair).read_bytes()
    at = data.index(b"clip.vision.projection_dim") + len("clip.vision.projection_dim") + 4
    assert data[at : at + 4] == wide
    other.write_bytes(data[:at] + struct.pack("<I", 99) + data[at + 4 :])
    assert open_checkpoint(pair).projector != other
    with pytest.raises(ModelError, match=r"belongs to another model: it gives 99 values a token, .* takes 64"):
        open_checkpoint(pair, projector=other)


def test_a_fine_tunes_projector_is_not_taken_for_anothers(pair: Path, random_checkpoint: Path) -> None:
    """Two checkpoints of one size, exported into one folder: names and shapes of all tensors are the same."""
    from safetensors.torch import load_file, save_file

    tuned = pair.parent / "tuned"
    shutil.copytree(random_checkpoint, tuned)
    for shard in tuned.glob("*.safetensors"):
        save_file({name: value + 0.01 for name, value in load_file(shard).items()}, shard, {"format": "pt"})
    other = export(open_checkpoint(tuned), pair.parent, "F32")
    first = open_checkpoint(pair).projector
    assert first is not None and first != other.projector
    assert open_checkpoint(other.text).projector == other.projector
    with pytest.raises(ModelError, match="was exported from another checkpoint than"):
        open_checkpoint(pair, projector=other.projector)


def spoilt(pair: Path, how: str) -> tuple[Path, dict[str, Any]]:
    data = pair.read_bytes()
    if how == "no projector":
        projector(pair).unlink()
    elif how == "the projector alone":
        return projector(pair), {}
    elif how == "a text model for projector":
        return pair, {"projector": pair}
    elif how == "cut":
        pair.write_bytes(data[:-1])
    elif how == "cut in the header":
        pair.write_bytes(data[:500])
    elif how == "another architecture":
        pair.write_bytes(data.replace(b"qwen2vl", b"llama2x"))
    elif how == "an unknown version":
        pair.write_bytes(data[:4] + b"\x09" + data[5:])
    elif how == "no video token":
        pair.write_bytes(data.replace(b"<|video_pad|>", b"<|vadeo_pad|>"))
    elif how == "another tokenizer":
        pair.write_bytes(data.replace(b"\x05\0\0\0\0\0\0\0qwen2", b"\x05\0\0\0\0\0\0\0gpt-2"))
    elif how == "two different projectors":
        one, two = projector(pair), pair.with_name("mmproj-two.gguf")
        strange = one.read_bytes().replace(b"vtcli.source.fingerprint", b"vtcli.source.fingerprinX")
        one.write_bytes(strange)
        name = read_gguf(one).metadata["general.name"].encode()
        two.write_bytes(strange.replace(name, name[:-1] + b"X"))
    elif how == "another kind of projector":
        name = projector(pair)
        name.write_bytes(name.read_bytes().replace(b"qwen2.5vl_merger", b"qwen3vl___merger"))
        return pair, {"projector": name}
    elif how == "a projector for a catalogue name":
        return Path("tiny"), {"projector": projector(pair)}
    elif how == "lists of lists":
        at = data.index(b"tokenizer.ggml.merges") + len("tokenizer.ggml.merges")
        assert data[at : at + 4] == struct.pack("<I", 9)
        pair.write_bytes(data[: at + 4] + struct.pack("<I", 9) + data[at + 8 :])
    elif how == "broken merges":
        pair.write_bytes(data.replace("Ġ t".encode(), "Ġ\0t".encode()))
    elif how == "a vocabulary alone":
        writer = gguf.GGUFWriter(pair, "qwen2vl")
        writer.add_token_list(["a"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    return pair, {}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no projector", "has no projector beside it .*--mmproj FILE"),
        ("the projector alone", "is a projector: give the text model with -m"),
        ("a text model for projector", "is not a projector of a vision tower"),
        ("cut", r"is cut short: \d+ of \d+ bytes"),
        ("cut in the header", "cut short or damaged within its header"),
        ("another architecture", "is a llama2x model: vt runs the Qwen2.5-VL family"),
        ("an unknown version", "is not a GGUF file: version 9"),
        ("no video token", r"lacks '<\|video_pad\|>'"),
        ("another tokenizer", "has a tokenizer of the kind gpt2/gpt-2, not Qwen2's"),
        ("two different projectors", "several projectors beside it .*choose one with --mmproj"),
        ("a projector for a catalogue name", "--mmproj goes with a GGUF file"),
        ("lists of lists", "metadata with lists of lists"),
        ("broken merges", "the tokenizer in .* cannot be read"),
        ("a vocabulary alone", "holds a vocabulary and no model"),
        ("another kind of projector", "is a qwen3vl___merger projector: vt runs the Qwen2.5-VL family"),
    ],
)
def test_what_cannot_be_run_says_why(pair: Path, how: str, says: str) -> None:
    path, options = spoilt(pair, how)
    with pytest.raises(ModelError, match=says) as error:
        Tokenizer(open_checkpoint(path, **options).path)
    assert "\n" not in str(error.value)


def test_a_projector_goes_with_a_gguf_file_alone(pair: Path, source: Checkpoint) -> None:
    with pytest.raises(ModelError, match="--mmproj goes with a GGUF file"):
        open_checkpoint(source.path, projector=projector(pair))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(key: str, kind: int, value: bytes, shape: tuple[int, ...] = (1,), type: int = 0) -> bytes:
    """A GGUF file with one key beside the architecture, and one tensor of 4 bytes."""
    keys = text("general.architecture") + struct.pack("<I", 8) + text("qwen2vl")
    keys += text(key) + struct.pack("<I", kind) + value
    tensor = text("a") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + keys + tensor + struct.pack("<IQ", type, 0)
    return data + bytes(-len(data) % 32 + 4)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (header("x", 4, bytes(4)), None),
        (header("x", 4, bytes(4), shape=(1, 1, 1, 1)), None),
        (header("x", 4, bytes(4), shape=(2**64 - 1,) * 60_000, type=99), "is not a GGUF file: a has 60000 dimensions"),
        (header("x", 4, bytes(4), shape=(1,) * 5), "is not a GGUF file: a has 5 dimensions"),
        (header("x", 4, bytes(4), shape=(2**64 - 1,) * 4, type=99), "is cut short: a is larger than the file"),
        (header("general.alignment", 8, text("32")), "is not a GGUF file: general.alignment is not a number"),
        (header("general.alignment", 5, struct.pack("<i", -32)), "is not a GGUF file: general.alignment is -32"),
        (
            header("general.alignment", 6, struct.pack("<f", float("inf"))),
            "is not a GGUF file: general.alignment is not a number",
        ),
        (
            header("tokenizer.ggml.eos_token_id", 8, text("x")),
            "is not a GGUF file: tokenizer.ggml.eos_token_id is not a number",
        ),
        (header("split.count", 9, struct.pack("<IQI", 4, 1, 2)), "is not a GGUF file: split.count is not a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_values_in_a_header(tmp_path: Path, data: bytes, says: str | None) -> None:
    file = tmp_path / "odd.gguf"
    file.write_bytes(data)
    if says is None:
        assert len(read_gguf(file).tensors) == 1
        return
    begin = time.monotonic()
    with pytest.raises(ModelError, match=f"odd.gguf {says}"):
        read_gguf(file)
    assert time.monotonic() - begin < 1


def test_every_cut_header_is_one_line(pair: Path, tmp_path: Path) -> None:
    data = pair.read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [0, 3, 4, 8, 20, *range(24, 20000, 397)]:
        cut.write_bytes(data[:size])
        with pytest.raises(ModelError) as error:
            read_gguf(cut)
        assert "\n" not in str(error.value)
    assert is_gguf(pair) and not is_gguf(tmp_path / "nothing") and not is_gguf(tmp_path)
