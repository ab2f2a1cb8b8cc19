"""The llama.cpp engine: it must say what the transformers engine says of the same weights, and keep its promises."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.asking import filled, interrupted, with_sampling
from tests.parity.compare import begin, divergence
from vtcli.engines.base import Request
from vtcli.engines.transformers import TransformersEngine
from vtcli.errors import EngineError, ModelError
from vtcli.layout import build_layout
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.export import export
from vtcli.models.tokenizer import Tokenizer

pytest.importorskip("torch")
pytest.importorskip("llama_cpp")

from vtcli.engines.llama_cpp import LlamaCppEngine, text


def make_llama(file: Path) -> LlamaCppEngine:
    checkpoint = open_checkpoint(file)
    return LlamaCppEngine(checkpoint, Tokenizer(checkpoint.path), "cpu")


def logits(engine: LlamaCppEngine, request: Request) -> Any:
    """The first logits, with everything read anew."""
    return begin(engine, request)[0]


def at(request: Request, second_per_grid: float, checkpoint: Path) -> Request:
    """`request` with its frames at other times."""
    one = open_checkpoint(checkpoint)
    ids = request.layout.input_ids
    where = np.flatnonzero(ids == one.video_token_id)
    prompt = [*ids[: where[0] + 1].tolist(), *ids[where[-1] + 1 :].tolist()]
    grid = one.grid(*request.pixels.shape[:3])
    layout = build_layout(
        prompt, grid, second_per_grid, video_token_id=one.video_token_id, tokens_per_second=one.tokens_per_second
    )
    return dataclasses.replace(request, layout=layout, second_per_grid=second_per_grid)


@pytest.fixture(scope="module")
def exported(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    return {
        quant: export(open_checkpoint(random_checkpoint), folder / quant, quant).text
        for quant in ("F32", "F16", "Q8_0", "Q4_K_M")
    }


@pytest.fixture(scope="module")
def llama(exported: dict[str, Path]) -> Iterator[LlamaCppEngine]:
    engine = make_llama(exported["F32"])
    engine.open()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(engine: TransformersEngine) -> TransformersEngine:
    """The engine on the checkpoint itself."""
    return engine


# Seconds between pairs of frames: as of 16 frames in 30 s, an odd rate, 4 frames a second, and more than that, where
# several pairs have the same time.
@pytest.mark.parametrize("second_per_grid", [3.75, 2 / 2.6, 0.5, 0.3, 0.1])
def test_logits_are_those_of_the_checkpoint(
    llama: LlamaCppEngine,
    reference: TransformersEngine,
    request_: Request,
    random_checkpoint: Path,
    second_per_grid: float,
) -> None:
    request = at(request_, second_per_grid, random_checkpoint)
    expected = filled(reference, request, reference._reader_for(request))
    kl, top = divergence(expected, logits(llama, request))
    assert kl < 1e-5 and top
    decoder, model = reference._reader_for(request), llama._reader_for(request)
    for token in np.random.default_rng(0).integers(0, 300, 12).tolist():
        assert divergence(decoder.run([token])[0], model.run([token])[0])[0] < 1e-5
    "".join(llama.stream(request))
    slow = [warning for warning in llama.warnings if "one by one" in warning]
    assert bool(slow) == (second_per_grid < 0.5)


def test_frames_that_share_a_time_need_more_than_llama_cpp_does(
    llama: LlamaCppEngine,
    reference: TransformersEngine,
    request_: Request,
    random_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why they are read one by one."""
    request = at(request_, 0.1, random_checkpoint)
    expected = filled(reference, request, reference._reader_for(request))
    monkeypatch.setattr(text, "_runs", lambda times: [(False, 0, len(times))])
    assert divergence(expected, logits(llama, request))[0] > 1e-4


def test_an_odd_number_of_frames(
    llama: LlamaCppEngine, reference: TransformersEngine, request_: Request, random_checkpoint: Path
) -> None:
    request = at(dataclasses.replace(request_, pixels=request_.pixels[:7]), 3.75, random_checkpoint)
    expected = filled(reference, request, reference._reader_for(request))
    assert divergence(expected, logits(llama, request))[0] < 1e-5


@pytest.mark.parametrize(("quant", "most"), [("F16", 2e-5), ("Q8_0", 5e-3), ("Q4_K_M", 0.5)])
def test_quantised_weights_stay_near(
    exported: dict[str, Path], reference: TransformersEngine, request_: Request, quant: str, most: float
) -> None:
    engine = make_llama(exported[quant])
    engine.open()
    expected = filled(reference, request_, reference._reader_for(request_))
    kl, _ = divergence(expected, logits(engine, request_))
    assert kl < most
    assert engine.quant == open_checkpoint(exported[quant]).quant
    engine.close()


def test_a_long_prompt_is_read_in_several_batches(
    llama: LlamaCppEngine, reference: TransformersEngine, request_: Request, random_checkpoint: Path
) -> None:
    request = at(dataclasses.replace(request_, pixels=np.tile(request_.pixels, (8, 1, 1, 1))), 1.0, random_checkpoint)
    assert request.layout.video_tokens > text._BATCH
    expected = filled(reference, request, reference._reader_for(request))
    assert divergence(expected, logits(llama, request))[0] < 1e-5


def test_the_seed_decides_the_draw(llama: LlamaCppEngine, request_: Request) -> None:
    def say(seed: int) -> str:
        return "".join(llama.stream(with_sampling(request_, temperature=2.0, top_p=0.95, seed=seed)))

    assert say(1) == say(1) != say(2)


def test_leaving_early_is_interrupted(llama: LlamaCppEngine, request_: Request) -> None:
    expected = "".join(llama.stream(request_))
    stream = llama.stream(with_sampling(request_, max_tokens=1000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert llama.stats is not None and llama.stats.finish == "interrupted"
    assert "".join(llama.stream(request_)) == expected


def test_requests_that_do_not_fit(llama: LlamaCppEngine, request_: Request) -> None:
    with pytest.raises(EngineError, match="do not fill the grid"):
        next(llama.stream(dataclasses.replace(request_, pixels=request_.pixels[:-2])))
    small = text.TextModel(llama._library, llama._model, 64, 0, False, 1, 1, llama._calls, lambda: False)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="tokens do not fit the 64 there is room for"):
        small._read_tokens(np.zeros(65, np.int64), np.arange(65))
    small.close()


def test_a_projector_that_llama_cpp_refuses(exported: dict[str, Path], request_: Request, tmp_path: Path) -> None:
    """Its header is whole; what it holds is not what llama.cpp wants."""
    checkpoint = open_checkpoint(exported["F32"])
    assert checkpoint.projector is not None
    data = checkpoint.projector.read_bytes().replace(b"mm.0.weight", b"mm.X.weight")
    (tmp_path / "mmproj.gguf").write_bytes(data)
    (tmp_path / "model.gguf").write_bytes(checkpoint.path.read_bytes())
    engine = make_llama(tmp_path / "model.gguf")
    engine.open()
    with pytest.raises(ModelError, match=r"mmproj\.gguf cannot be loaded: .*mm"):
        next(engine.stream(request_))
    engine.close()


def test_closing_frees_and_may_be_done_twice(exported: dict[str, Path], request_: Request, capfd: Any) -> None:
    engine = make_llama(exported["Q8_0"])
    engine.open()
    engine.open()
    first = "".join(engine.stream(request_))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="not open"):
        next(engine.stream(request_))
    engine.open()
    assert "".join(engine.stream(request_)) == first
    engine.close()
    assert capfd.readouterr() == ("", "")


def test_another_device_than_it_was_built_for(exported: dict[str, Path]) -> None:
    engine = make_llama(exported["F32"])
    engine.prepare()
    if engine.device != "cpu":
        pytest.skip("a GPU build")
    engine = LlamaCppEngine(engine._checkpoint, engine._tokenizer, "cuda")
    with pytest.raises(EngineError, match=r"--device cuda: this llama\.cpp was built for the processor alone"):
        engine.prepare()


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_even_the_reading_of_a_prompt(exported: dict[str, Path], random_checkpoint: Path) -> None:
    script = f"""
        import sys, threading
        sys.path[:0] = {sys.path!r}
        import numpy as np
        from dataclasses import replace
        from pathlib import Path
        from tests.engines.test_llama_cpp import at, make_llama
        from tests.engines.asking import make_request
        folder = Path({str(random_checkpoint)!r})
        request = make_request(folder)
        request = at(replace(request, pixels=np.tile(request.pixels, (120, 1, 1, 1))), 0.01, folder)
        engine = make_llama(Path({str(exported["F32"])!r}))
        engine.open()
        threading.Timer(1.0, lambda: print("x", flush=True)).start()
        try:
            next(engine.stream(request))
            print("too fast", flush=True)
        except KeyboardInterrupt:
            print(engine.stats.finish, flush=True)
            again, fresh = make_request(folder, max_tokens=8), make_llama(engine._checkpoint.path)
            fresh.open()
            print("".join(engine.stream(again)) == "".join(fresh.stream(again)), flush=True)
            fresh.close()
            engine.close()
    """
    process, sent = interrupted(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - sent < 2
    assert process.stdout.readline() == "True\n"  # and it can be asked again
    assert process.wait(timeout=30) == 0


def test_neither_torch_nor_transformers_is_imported(exported: dict[str, Path], tmp_path: Path) -> None:
    from vtcli.shapes.demo import write_demo

    write_demo(tmp_path / "clip.mp4")
    script = (
        "import sys, vtcli.ask as a\n"
        f"q = a.Question({str(tmp_path / 'clip.mp4')!r}, 'why?', {str(exported['Q8_0'])!r},"
        " sampling=a.SamplingOptions(max_tokens=4))\n"
        "print(a.ask(q)['model']['engine'], 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["llama-cpp", "False", "False"]
