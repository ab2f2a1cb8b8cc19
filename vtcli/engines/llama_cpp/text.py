"""The text model with its KV cache: tokens and embeddings in at explicit positions, logits out."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtcli.engines.llama_cpp.library import Library
from vtcli.engines.prefix import Prefix
from vtcli.engines.reply import Logits
from vtcli.errors import EngineError
from vtcli.layout import Layout

F32, F16 = 0, 1  # ggml's types for keys and values
_BATCH = 512
_FULL, _ABORTED = 1, 2  # what llama_decode returns
_KINDS: dict[str, Any] = {"token": ctypes.c_int32, "embd": ctypes.c_float}
_AXES = 4  # of a position in llama.cpp: time, row, column, and an unused one

Call = Callable[[Callable[[], None]], None]


class TextModel:
    """A context of at most `capacity` tokens on a loaded model. Raises EngineError if it cannot be created.

    kind: ggml's type of keys and values. ahead: guesses that `run` takes in addition to one token. call: runs long C
    calls. stopping: returns whether to abort them.
    """

    def __init__(
        self,
        library: Library,
        model: Any,
        capacity: int,
        kind: int,
        gpu: bool,
        threads: int,
        ahead: int,
        call: Call,
        stopping: Any,
    ) -> None:
        self._library = library
        self._llama = llama = library.llama
        self._call = call
        self.capacity = capacity
        self.ahead = ahead
        self.tokens = 0  # read so far
        self._next = 0  # the next position
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = capacity, _BATCH, _BATCH
        options.n_outputs_max = options.n_outputs_max_per_seq = 1 + ahead
        options.n_threads = options.n_threads_batch = threads
        options.type_k = options.type_v = kind
        # Without flash attention, the CPU is exact and no slower; on a GPU, flash attention makes long clips fast.
        options.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_AUTO if gpu else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.offload_kqv = options.op_offload = gpu
        self._abort = llama.ggml_abort_callback(lambda _: bool(stopping()))  # kept for as long as it may be called
        options.abort_callback = self._abort
        library.forget_errors()
        self._context = llama.llama_init_from_model(model, options)
        if not self._context:
            raise EngineError(f"llama.cpp has no room for {capacity} tokens: {library.last_error()}")
        self._memory = llama.llama_get_memory(self._context)
        self._vocabulary = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model)))

    def begin(self, layout: Layout, prefix: Prefix, video: NDArray[np.float32]) -> None:
        """Prefills the prompt up to the clip's end, with the clip as embeddings (video tokens, hidden)."""
        first = prefix.tokens - len(video)
        self._read_tokens(layout.input_ids[:first], layout.positions[0, :first])
        self._read_video(video, layout.positions[:, first : prefix.tokens], layout.grid[0])

    def finish(self, layout: Layout, prefix: Prefix) -> Logits:
        """Prefills the rest of the prompt; returns logits (vocabulary,) of the next token."""
        self._read_tokens(layout.input_ids[prefix.tokens :], layout.positions[0, prefix.tokens :], logits=1)
        self._next = layout.next_position
        logits: Logits = self._logits(1)[0]
        return logits

    def run(self, tokens: Sequence[int]) -> Logits:
        """Reads `tokens` at the next positions; returns logits (tokens, vocabulary) of the token after each."""
        count = len(tokens)
        self._read_tokens(np.asarray(tokens), np.arange(self._next, self._next + count), logits=count)
        self._next += count
        return self._logits(count)

    def drop(self, count: int) -> None:
        """Forgets the last `count` tokens that `run` read."""
        if count:
            self._next -= count
            self.tokens -= count
            self._llama.llama_memory_seq_rm(self._memory, 0, self._next, -1)

    def restart(self, prefix: Prefix | None = None) -> None:
        """Forgets everything, or everything after `prefix`, which must have been read; memory stays allocated."""
        if prefix is None:
            self._llama.llama_memory_clear(self._memory, True)
        else:
            self._llama.llama_memory_seq_rm(self._memory, 0, prefix.next_position, -1)
        self.tokens = prefix.tokens if prefix else 0

    def save(self, prefix: Prefix) -> list[NDArray[np.uint8]]:
        """Returns llama.cpp's serialised state of `prefix`, which must be all that has been read."""
        data = np.empty(self._llama.llama_state_seq_get_size(self._context, 0), np.uint8)
        self._llama.llama_state_seq_get_data(self._context, _bytes(data), data.nbytes, 0)
        return [data]

    def load(self, prefix: Prefix, data: NDArray[np.uint8]) -> bool:
        """Restores `prefix` from `data` of `save`, as if just read; returns whether llama.cpp accepts the data."""
        copy = np.array(data)
        taken = self._llama.llama_state_seq_set_data(self._context, _bytes(copy), copy.nbytes, 0)
        self.tokens = prefix.tokens
        return bool(taken == copy.nbytes)

    def close(self) -> None:
        """Frees the context."""
        if self._context:
            self._llama.llama_free(self._context)
            self._context = None

    def _read_tokens(self, ids: NDArray[np.int64], positions: NDArray[np.int64], logits: int = 0) -> None:
        """Reads text tokens; computes the logits after the last `logits` of them."""
        for part in _parts(len(ids)):
            chosen = np.ascontiguousarray(ids[part], np.int32)
            where = np.ascontiguousarray(positions[part], np.int32)
            wanted = np.arange(part.start, part.stop) >= len(ids) - logits
            self._decode(where, wanted, "token", chosen)

    def _read_video(self, video: NDArray[np.float32], positions: NDArray[np.int64], steps: int) -> None:
        """Reads the clip's cells (cells, hidden), which form `steps` time steps.

        llama.cpp's causal mask lets a token see tokens with an earlier time, and at its own time those in earlier rows
        and columns. The tokens of a step that shares its time with the step before (more than 4 frames per second)
        would not see all of that step. They are therefore read one by one without a causal mask: at that point the
        cache holds nothing they must not see.
        """
        cells = len(video) // steps
        times = positions[0, ::cells]
        rows = np.zeros((_AXES, len(video)), np.int32)
        rows[:3] = positions
        for tied, begin, end in _runs(times):
            span = slice(begin * cells, end * cells)
            self._llama.llama_set_causal_attn(self._context, not tied)
            try:
                for part in _parts(span.stop - span.start, 1 if tied else _BATCH):
                    chosen = slice(span.start + part.start, span.start + part.stop)
                    where = np.ascontiguousarray(rows[:, chosen])  # axis-major: all times, all rows, all columns
                    values = np.ascontiguousarray(video[chosen], np.float32)
                    wanted = np.zeros(len(values), bool)
                    self._decode(where, wanted, "embd", values)
            finally:
                self._llama.llama_set_causal_attn(self._context, True)

    def _decode(
        self, positions: NDArray[np.int32], wanted: NDArray[np.bool_], kind: str, values: NDArray[np.generic]
    ) -> None:
        """Reads one batch: `kind` "token" with ids int32, or "embd" with embeddings float32."""
        count = len(wanted)
        if self.tokens + count > self.capacity:
            raise EngineError(f"{self.tokens + count} tokens do not fit the {self.capacity} there is room for")
        ids = (ctypes.POINTER(ctypes.c_int32) * count)(*[ctypes.pointer(ctypes.c_int32(0))] * count)
        logits = np.ascontiguousarray(wanted, np.int8)
        batch = self._llama.llama_batch(
            n_tokens=count,
            pos=positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=(ctypes.c_int32 * count)(*[1] * count),
            seq_id=ids,
            logits=logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
            **{kind: values.ctypes.data_as(ctypes.POINTER(_KINDS[kind]))},
        )
        self._library.forget_errors()
        status = 0

        def decode() -> None:
            nonlocal status
            _ = positions, logits, values  # the batch points to them even after the caller gave up
            status = self._llama.llama_decode(self._context, batch)

        self._call(decode)
        if status:
            reasons = {_FULL: "its memory is full", _ABORTED: "it was stopped"}
            raise EngineError(f"llama.cpp cannot go on: {reasons.get(status, self._library.last_error())}")
        self.tokens += count

    def _logits(self, count: int) -> Logits:
        """Returns a copy of the logits (count, vocabulary) of the last tokens; the next batch overwrites them."""
        rows = np.empty((count, self._vocabulary), np.float32)
        for row in range(count):
            values = self._llama.llama_get_logits_ith(self._context, row - count)
            ctypes.memmove(rows[row].ctypes.data, values, rows[row].nbytes)
        return rows


def _bytes(data: NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _parts(count: int, size: int = _BATCH) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def _runs(times: NDArray[np.int64]) -> Iterator[tuple[bool, int, int]]:
    """Yields runs of steps as (tied, begin, end); a step is tied if it has the time of the step before."""
    tied = np.concatenate([[False], times[1:] == times[:-1]])
    edges = [0, *(np.flatnonzero(tied[1:] != tied[:-1]) + 1).tolist(), len(tied)]
    for begin, end in pairwise(edges):
        yield bool(tied[begin]), begin, end
