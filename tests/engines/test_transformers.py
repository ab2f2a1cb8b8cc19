"""The engine on a random checkpoint: it must say exactly what transformers' own generate says at our positions."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.asking import GRID, filled, interrupted, make_engine, make_request, with_sampling
from vtcli.engines.base import Request, SamplingOptions
from vtcli.engines.transformers import TransformersEngine
from vtcli.errors import EngineError, ModelError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def reference_ids(engine: TransformersEngine, request: Request, tokens: int = 32) -> list[int]:
    layout = request.layout
    output = engine._model.generate(
        input_ids=torch.from_numpy(layout.input_ids)[None],
        attention_mask=torch.ones(1, layout.input_ids.size, dtype=torch.long),
        position_ids=torch.from_numpy(layout.positions)[:, None],
        pixel_values_videos=torch.from_numpy(engine._patches(request)),
        video_grid_thw=torch.tensor([GRID]),
        max_new_tokens=tokens,
        do_sample=False,
        use_cache=True,
    )
    ids: list[int] = output[0, layout.input_ids.size :].tolist()
    return ids


def test_greedy_is_generate_at_our_positions(engine: TransformersEngine, request_: Request) -> None:
    expected = reference_ids(engine, request_)
    assert len(expected) == 32
    text = "".join(engine.stream(request_))
    assert text == engine._tokenizer.decode(expected)
    assert engine.stats is not None and (engine.stats.finish, engine.stats.completion_tokens) == ("length", 32)
    assert min(engine.stats.encode, engine.stats.prefill, engine.stats.generate) > 0
    assert (engine.device, engine.dtype, engine.warnings) == ("cpu", "float32", ())


def test_positions_reach_the_model(engine: TransformersEngine, request_: Request) -> None:
    """The first logits are those of one plain forward at our positions, and other seconds give others."""
    layout = request_.layout

    def forward(positions: np.ndarray[Any, Any]) -> Any:
        with torch.inference_mode():
            return engine._model(
                input_ids=torch.from_numpy(layout.input_ids)[None],
                position_ids=torch.from_numpy(positions)[:, None],
                pixel_values_videos=torch.from_numpy(engine._patches(request_)),
                video_grid_thw=torch.tensor([GRID]),
            ).logits[0, -1]

    ours = torch.from_numpy(filled(engine, request_, engine._reader_for(request_)))
    torch.testing.assert_close(ours, forward(layout.positions), atol=1e-4, rtol=1e-4)
    assert (ours - forward(np.tile(np.arange(layout.input_ids.size), (3, 1)))).abs().max() > 0.01


def test_every_step_continues_from_the_layout(engine: TransformersEngine, request_: Request) -> None:
    """Step by step with a cache equals one teacher-forced pass with positions last + 1, last + 2, …"""
    layout, tokens = request_.layout, reference_ids(engine, request_, 6)
    decoder = engine._reader_for(request_)
    filled(engine, request_, decoder)
    for token in tokens:
        logits = torch.from_numpy(decoder.run([token])[0])
    longer = np.tile(np.arange(layout.next_position, layout.next_position + 6), (3, 1))
    with torch.inference_mode():
        expected = engine._model(
            input_ids=torch.from_numpy(np.append(layout.input_ids, tokens))[None],
            position_ids=torch.from_numpy(np.concatenate([layout.positions, longer], axis=1))[:, None],
            pixel_values_videos=torch.from_numpy(engine._patches(request_)),
            video_grid_thw=torch.tensor([GRID]),
        ).logits[0, -1]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_nothing_deprecated_is_asked_of_the_library(engine: TransformersEngine, request_: Request) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "".join(engine.stream(request_))


def test_streamed_pieces_are_whole_characters(engine: TransformersEngine, request_: Request) -> None:
    request = with_sampling(request_, temperature=1.5, top_p=1.0, seed=3, max_tokens=200)
    pieces = list(engine.stream(request))
    assert all(pieces) and all(piece.encode() for piece in pieces)
    assert "".join(pieces) == "".join(engine.stream(request))


def test_seed_decides_the_draw(engine: TransformersEngine, request_: Request) -> None:
    def say(seed: int | None) -> str:
        return "".join(engine.stream(with_sampling(request_, temperature=2.0, top_p=0.95, seed=seed)))

    assert say(1) == say(1) != say(2)
    assert say(None) != say(None)


def test_the_papers_sampling_is_all_but_greedy(engine: TransformersEngine, request_: Request) -> None:
    papers = dataclasses.replace(request_, sampling=SamplingOptions(max_tokens=32))
    assert "".join(engine.stream(papers)) == "".join(engine.stream(request_))


def test_stops_at_every_eos(random_checkpoint: Path, request_: Request, engine: TransformersEngine) -> None:
    tokens = reference_ids(engine, request_)
    last = next(n for n in range(3, 32) if tokens[n] not in tokens[:n])
    stopping = make_engine(random_checkpoint)
    stopping._checkpoint = dataclasses.replace(stopping._checkpoint, eos_token_ids=(383, tokens[last]))
    stopping.open()
    assert "".join(stopping.stream(request_)) == engine._tokenizer.decode(tokens[:last])
    assert stopping.stats is not None
    assert (stopping.stats.finish, stopping.stats.completion_tokens) == ("stop", last + 1)
    exact = with_sampling(request_, max_tokens=last + 1)
    assert "".join(stopping.stream(exact)) == engine._tokenizer.decode(tokens[:last])
    assert stopping.stats.finish == "stop"
    stopping.close()


def test_leaving_early_is_interrupted(engine: TransformersEngine, request_: Request) -> None:
    stream = engine.stream(with_sampling(request_, max_tokens=1000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.stats is not None and engine.stats.finish == "interrupted"
    assert 0 < engine.stats.completion_tokens < 1000
    assert "".join(engine.stream(request_)) == engine._tokenizer.decode(reference_ids(engine, request_))


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_a_reply_within_a_second(random_checkpoint: Path) -> None:
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from tests.engines.asking import make_engine, make_request
        engine = make_engine(Path({str(random_checkpoint)!r}))
        engine.open()
        try:
            for piece in engine.stream(make_request(Path({str(random_checkpoint)!r}), max_tokens=100000)):
                print("x", flush=True)
        except KeyboardInterrupt:
            print(engine.stats.finish, flush=True)
            engine.close()
    """
    process, sent = interrupted(script)
    assert process.stdout is not None
    line = "x\n"
    while line == "x\n":
        line = process.stdout.readline()
    assert line == "interrupted\n"
    assert time.monotonic() - sent < 1
    assert process.wait(timeout=30) == 0


def test_loading_is_silent(engine: TransformersEngine, random_checkpoint: Path, capfd: Any) -> None:
    again = make_engine(random_checkpoint)
    again.open()
    again.open()
    again.close()
    again.close()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(EngineError, match="not open"):
        next(again.stream(make_request(random_checkpoint)))


def test_attention_is_not_planned_anew_for_each_length(engine: TransformersEngine) -> None:
    assert engine._model is not None and not torch.backends.cuda.cudnn_sdp_enabled()


def test_bfloat16_weights_give_the_same_reply_when_rounded(
    random_checkpoint: Path, request_: Request, tmp_path: Path
) -> None:
    """A bf16 checkpoint, as the 7B is stored: loaded in float32, it says what its rounded weights say."""
    import transformers

    folder = tmp_path / "half"
    shutil.copytree(random_checkpoint, folder)
    for file in folder.glob("model*"):
        file.unlink()
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(random_checkpoint, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    engine = make_engine(folder)
    assert engine._checkpoint.weights.bytes < 2.1 * engine._checkpoint.weights.parameters
    engine.open()
    assert (engine.dtype, next(engine._model.parameters()).dtype) == ("float32", torch.float32)
    assert "".join(engine.stream(request_)) == engine._tokenizer.decode(reference_ids(engine, request_))
    engine.close()


def test_a_missing_weight_is_an_error_not_a_random_number(random_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "hole"
    shutil.copytree(random_checkpoint, folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = next(name for name in index["weight_map"] if name.endswith("layers.1.mlp.up_proj.weight"))
    shard = folder / index["weight_map"][name]
    tensors = load_file(shard)
    save_file({key: value for key, value in tensors.items() if key != name}, shard, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, first .*up_proj"):
        make_engine(folder).open()
    save_file(tensors | {"extra.weight": torch.zeros(1)}, shard, {"format": "pt"})
    index["weight_map"]["extra.weight"] = shard.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    engine = make_engine(folder)
    engine.open()
    assert len(engine.warnings) == 1 and "extra.weight" in engine.warnings[0]
    engine.close()


def test_weights_of_another_size(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(random_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 256
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as error:
        make_engine(folder).open()
    assert "\n" not in str(error.value)


def test_out_of_memory_is_one_line(engine: TransformersEngine, request_: Request, monkeypatch: Any) -> None:
    from vtcli.engines.loading import memory_errors

    with pytest.raises(EngineError, match="out of memory on cpu: less") as error, memory_errors("cpu", lambda: "less"):
        torch.empty(2**60)
    assert "\n" not in str(error.value)
    with pytest.raises(RuntimeError, match="shapes"), memory_errors("cpu", lambda: "less"):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_requests_that_do_not_fit(engine: TransformersEngine, request_: Request) -> None:
    with pytest.raises(EngineError, match="do not fill the grid"):
        next(engine.stream(dataclasses.replace(request_, pixels=request_.pixels[:-2])))
    layout = dataclasses.replace(request_.layout, input_ids=request_.layout.input_ids + 300)
    with pytest.raises(EngineError, match="beyond the model's 384 embeddings"):
        next(engine.stream(dataclasses.replace(request_, layout=layout)))


def test_numbers_that_overflow(random_checkpoint: Path, request_: Request) -> None:
    engine = make_engine(random_checkpoint)
    engine.open()
    with torch.no_grad():
        engine._model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="no numbers in float32 on cpu: its weights are damaged"):
        next(engine.stream(request_))
    engine.close()
