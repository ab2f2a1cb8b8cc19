"""The ways to compute a reply: in one piece, in parts, ahead of itself, captured. All must say the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.asking import filled, make_engine, make_request, with_sampling
from vtcli.engines import captured
from vtcli.engines.base import Request
from vtcli.engines.captured import CapturedDecoder, capture, grouped_attention
from vtcli.engines.decoder import Decoder
from vtcli.engines.lookup import Lookup
from vtcli.engines.prefix import Prefix
from vtcli.engines.reply import Reply
from vtcli.engines.transformers import TransformersEngine
from vtcli.errors import EngineError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.capturing import Waits  # noqa: E402


@pytest.fixture(scope="module")
def request_(random_checkpoint: Path) -> Request:
    return make_request(random_checkpoint, max_tokens=120)


def room(request: Request) -> int:
    return int(request.layout.input_ids.size) + request.sampling.max_tokens


class Counting:
    """Steps that count how often the model is run, and keep what it is given."""

    def __init__(self, decoder: Decoder) -> None:
        self.runs = 0
        self.read: list[int] = []
        self._decoder = decoder

    def run(self, tokens: Sequence[int]) -> Any:
        self.runs += 1
        self.read += tokens
        return self._decoder.run(tokens)

    def drop(self, count: int) -> None:
        self._decoder.drop(count)


def say(engine: TransformersEngine, request: Request, lookup: Lookup | None) -> tuple[str, int, Counting]:
    """Text, tokens drawn, and the steps it took."""
    decoder = Decoder(engine._model, room(request))
    steps, first = Counting(decoder), filled(engine, request, decoder)
    ends, text = engine._checkpoint.eos_token_ids, engine._tokenizer.detokenizer()
    reply = Reply(first, steps, request.sampling, ends, text, lookup)
    return "".join(reply), reply.tokens, steps


def test_a_prompt_in_parts_is_the_prompt(engine: TransformersEngine, request_: Request) -> None:
    layout = request_.layout
    whole, parts = (Decoder(engine._model, room(request_)) for _ in range(2))
    expected = filled(engine, request_, whole)
    rows = engine._embeddings(layout.input_ids, engine._encode(request_), parts)
    for piece in np.array_split(np.arange(layout.input_ids.size), 3):
        logits = parts.prompt(rows[piece], layout.positions[:, piece])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(parts.run([5, 6, 7]), whole.run([5, 6, 7]), atol=1e-4)


def test_of_the_last_layer_only_keys_and_values_are_kept(engine: TransformersEngine, request_: Request) -> None:
    """A prefix is read without the rest of that layer's work; to the last bit nothing else changes."""
    positions, count = request_.layout.positions, request_.layout.input_ids.size - 9
    spared, whole = (Decoder(engine._model, room(request_)) for _ in range(2))
    rows = engine._embeddings(request_.layout.input_ids, engine._encode(request_), whole)
    worked: list[int] = []
    layers = engine._model.model.language_model.layers
    handles = [
        layer.mlp.register_forward_hook(lambda *_, number=number: worked.append(number))
        for number, layer in enumerate(layers)
    ]
    try:
        spared.begin(rows[:count], positions[:, :count])
        assert worked == [0]
        whole.prompt(rows[:count], positions[:, :count])
        assert worked == [0, 0, 1]
    finally:
        for handle in handles:
            handle.remove()
    prefix = Prefix(count, int(positions[:, :count].max()) + 1, "")
    for ours, theirs in zip(spared.save(prefix), whole.save(prefix), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rest = rows[count:], positions[:, count:]
    np.testing.assert_array_equal(spared.prompt(*rest), whole.prompt(*rest))


def test_tokens_read_at_once_and_forgotten(engine: TransformersEngine, request_: Request) -> None:
    decoder = Decoder(engine._model, room(request_))
    filled(engine, request_, decoder)
    one_by_one = [decoder.run([token])[0] for token in (5, 6, 7)]
    decoder.drop(3)
    np.testing.assert_allclose(decoder.run([5, 6, 7]), one_by_one, atol=1e-4)
    decoder.drop(2)
    decoder.run([9, 9])
    decoder.drop(2)
    np.testing.assert_allclose(decoder.run([6])[0], one_by_one[1], atol=1e-4)


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 0.6, "top_p": 0.9, "seed": 4}])
def test_guessing_changes_nothing_and_saves_steps(
    engine: TransformersEngine, request_: Request, sampling: dict[str, Any]
) -> None:
    request = with_sampling(request_, **sampling)
    plain, tokens, slow = say(engine, request, None)
    assert slow.runs == tokens - 1  # the last token is read by nobody
    guessed, tokens_guessed, fast = say(engine, request, Lookup(4, slow.read))
    assert (guessed, tokens_guessed) == (plain, tokens)
    assert fast.runs < slow.runs / 2  # the reply is in what it looks up


def test_wrong_guesses_cost_no_words(engine: TransformersEngine, request_: Request) -> None:
    class Liar(Lookup):
        def guess(self) -> Sequence[int]:
            return [1, 2, 3]

    plain, tokens, slow = say(engine, request_, None)
    lied, tokens_lied, lying = say(engine, request_, Liar(3))
    assert (lied, tokens_lied, lying.runs) == (plain, tokens, slow.runs)


def test_the_reply_ends_where_it_should_though_more_was_guessed(engine: TransformersEngine, request_: Request) -> None:
    known = say(engine, request_, None)[2].read
    for most in range(1, 12):
        request = with_sampling(request_, max_tokens=most)
        assert say(engine, request, Lookup(8, known))[:2] == say(engine, request, None)[:2]


def test_lookup_guesses_what_followed_last_time() -> None:
    lookup = Lookup(2, [1, 2, 3, 4, 5, 9, 1, 2, 3])
    assert list(lookup.guess()) == [4, 5]
    lookup.push(7)
    assert list(lookup.guess()) == []
    for token in (1, 2, 3):
        lookup.push(token)
    assert list(lookup.guess()) == [7, 1]
    assert list(Lookup(2, [1, 1]).guess()) == list(Lookup(2).guess()) == []
    assert list(Lookup(3, [1, 1, 1, 1]).guess()) == [1]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_steps_of_fixed_shapes(
    engine: TransformersEngine, request_: Request, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fixed = Decoder(engine._model, room(request_)), CapturedDecoder(engine._model, 1024, compiled)
    normed, norm = [], captured.norm
    monkeypatch.setattr(captured, "norm", lambda *of: normed.append(1) or norm(*of))
    for _ in range(2):  # again, with what the first reply left in memory
        first = filled(engine, request_, plain)
        assert (filled(engine, request_, fixed) == first).all()
        for token in (5, 300, 7, 7, 20, 31):
            np.testing.assert_allclose(fixed.run([token]), plain.run([token]), atol=1e-4)
    assert normed  # by one kernel each; what the library computes them by is back by now
    assert type(engine._model.model.language_model.norm).forward is not captured.norm


def test_what_is_compiled_lies_on_one_gpu(engine: TransformersEngine, request_: Request) -> None:
    engine.compile, before = "on", engine._decoder
    engine._decoder, engine._model.hf_device_map = None, {"model.visual": 0, "lm_head": 1}
    try:
        with pytest.raises(EngineError, match="several GPUs, and steps are compiled for one only: use --compile off"):
            engine._reader_for(request_)
    finally:
        engine.compile, engine._decoder = "auto", before
        del engine._model.hf_device_map


def test_a_step_of_fixed_shapes_can_be_captured(engine: TransformersEngine, request_: Request) -> None:
    """It waits for no number, takes none from outside, and does the same every time; a plain step does neither."""
    fixed, plain = CapturedDecoder(engine._model, 1024, compiled=False), Decoder(engine._model, room(request_))
    steps, others = [Waits(), Waits()], [Waits(), Waits()]
    for decoder in (fixed, plain):
        filled(engine, request_, decoder)
    for step, other in zip(steps, others, strict=True):
        fixed._step = step.around(fixed._work)
        fixed.run([5])
        other.around(lambda: plain.run([5]))()
    assert steps[0].found == steps[1].found == [] and steps[0].shapes == steps[1].shapes != []
    assert others[0].found and others[0].shapes != others[1].shapes


@pytest.mark.slow
def test_what_cannot_be_compiled_is_told_in_one_line(
    engine: TransformersEngine, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "fx_graph_cache", False)
    torch._dynamo.reset()
    fixed = CapturedDecoder(engine._model, 512, compiled=True)
    filled(engine, request_, fixed)
    with pytest.raises(EngineError, match=r"^steps cannot be compiled here \(.+\): use --compile off$"):
        fixed.run([5])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose torch refuses CUDA")
def test_what_cannot_be_captured_is_told_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"^steps cannot be captured on this GPU \(.+\): use --compile off$"):
        capture(lambda: None, torch.device("cuda"), "use --compile off")


@pytest.mark.parametrize(("precision", "within"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_a_norm_is_what_the_library_computes(engine: TransformersEngine, precision: Any, within: float) -> None:
    module = copy.deepcopy(engine._model.model.language_model.norm).to(precision)
    hidden = torch.randn(3, 1, len(module.weight), generator=torch.Generator().manual_seed(0)).to(precision)
    ours = captured.norm(module, hidden)
    assert ours.dtype == precision
    torch.testing.assert_close(ours, module(hidden), atol=within, rtol=within)


@pytest.mark.parametrize(("precision", "within"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_heads_that_share_keys_stand_together(precision: Any, within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keys in parts, the last of which nobody has written yet."""
    monkeypatch.setattr(captured, "PART", 3)
    dice = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, 8, generator=dice) for heads, length in ((6, 1), (2, 9), (2, 9)))
    seen = torch.arange(9) < 5
    copied = [tensor.repeat_interleave(3, dim=1) for tensor in (key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, *copied, attn_mask=seen[None, None, None], scale=0.3
    )
    mask = torch.zeros(9).masked_fill(~seen, -torch.inf)
    ours, _ = grouped_attention(None, *(states.to(precision) for states in (query, key, value)), mask, 0.3)
    assert ours.dtype == precision
    torch.testing.assert_close(ours.float(), expected.transpose(1, 2), atol=within, rtol=within)


def test_memory_is_kept_for_the_next_question(engine: TransformersEngine, request_: Request) -> None:
    long = "".join(engine.stream(request_))
    decoder = engine._decoder
    "".join(engine.stream(with_sampling(request_, max_tokens=20)))
    assert engine._decoder is decoder
    assert "".join(engine.stream(request_)) == long
    "".join(engine.stream(with_sampling(request_, max_tokens=1000)))
    assert engine._decoder is not decoder


def test_a_window_that_slides_is_not_outgrown(engine: TransformersEngine) -> None:
    config = engine._model.config.text_config
    before = config.sliding_window, list(config.layer_types)
    config.sliding_window, config.layer_types = 64, ["full_attention", "sliding_attention"]
    try:
        Decoder(engine._model, 64)
        with pytest.raises(EngineError, match="looks back 64 tokens only, this question takes 65"):
            Decoder(engine._model, 65)
    finally:
        config.sliding_window, config.layer_types = before


def test_compiling_is_chosen(random_checkpoint: Path, request_: Request) -> None:
    short = dataclasses.replace(request_, sampling=dataclasses.replace(request_.sampling, max_tokens=2))
    kinds = {}
    for choice in ("auto", "off", "on"):
        engine = make_engine(random_checkpoint)
        engine.compile = choice  # type: ignore[assignment]
        engine.open()
        kinds[choice] = type(engine._reader_for(short))
        engine.close()
    assert kinds == {"auto": Decoder, "off": Decoder, "on": CapturedDecoder}
