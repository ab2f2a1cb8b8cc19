"""The common base of the local engines: how a request is processed, independent of the library that computes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

import vtcli
from vtcli.cores import processor
from vtcli.engines.base import Request, StreamStats
from vtcli.engines.lookup import Lookup
from vtcli.engines.prefix import Holder, Prefix, PrefixStore, Recall
from vtcli.engines.reply import Logits, Reply, Steps
from vtcli.errors import EngineError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.fingerprint import fingerprint, last_changed
from vtcli.models.tokenizer import Tokenizer


class Reader(Steps, Holder, Protocol):
    """A text model with its KV cache. `ahead`: guesses that `run` takes in addition to one token."""

    ahead: int


R = TypeVar("R", bound=Reader)
T = TypeVar("T")


class LocalEngine(ABC, Generic[R]):
    """A checkpoint with its tokenizer and kept video prefixes. See `engines.base.Engine`.

    A subclass defines how to open and close, the reader of a prompt (`_reader_for`), how frames become embeddings
    (`_encode`), and how prompt and embeddings become the first logits (`_read`).
    """

    name: str

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, device: str, store: PrefixStore | None) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._model: Any = None
        self._recall = Recall(store)
        self._weights = ""
        self._computed: dict[str, str] | None = None
        self._opened_with: tuple[str, ...] = ()
        self.quant: str | None = checkpoint.quant
        self.device = device
        self.dtype = ""
        self.warnings: tuple[str, ...] = ()
        self.stats: StreamStats | None = None

    def stream(self, request: Request) -> Iterator[str]:
        """Yields the reply piece by piece. Stopping early (Ctrl-C, closing the iterator) ends it as "interrupted"."""
        if self._model is None:
            raise EngineError("the engine is not open")
        self.stats = None
        self._check(request)
        self.warnings = (*self._opened_with, *self._notes(request))
        reply: Reply | None = None
        encoded, filled, ended, cached, started = 0.0, 0.0, 0.0, 0, perf_counter()
        try:
            with self._at_work(request):
                reader, prefix = self._reader_for(request), self._prefix(request)
                if self._recall.find(prefix, reader):
                    cached = prefix.tokens
                video = None if cached else self._encode(request)
                encoded = perf_counter()
                first = self._read(request, prefix, video, reader)
                if not np.isfinite(first).all():
                    raise EngineError(f"the model computes no numbers{self._cure()}")
                filled = perf_counter()
                reply = self._reply(request, first, reader)
                yield from reply
            ended = perf_counter()
            self.warnings += self._recall.keep(prefix, reader)
        finally:
            now = ended or perf_counter()
            encoded, filled = encoded or now, filled or now
            finish, count = (reply.finish, reply.tokens) if reply else ("interrupted", 0)
            self.stats = StreamStats(finish, count, encoded - started, filled - encoded, now - filled, cached)

    @abstractmethod
    def _reader_for(self, request: Request) -> R:
        """Returns a reader with room for `request`: the last one, if it has enough."""

    @abstractmethod
    def _encode(self, request: Request) -> Any:
        """Returns the clip's embeddings (video tokens, hidden) in the form that `_read` takes."""

    @abstractmethod
    def _read(self, request: Request, prefix: Prefix, video: Any, reader: R) -> Logits:
        """Prefills the prompt; returns logits (vocabulary,) of the next token. Without `video`, skips the kept prefix.

        The prompt is always read in two parts, so that a kept prefix gives a bit-identical reply.
        """

    @abstractmethod
    def _libraries(self) -> str:
        """Returns the versions of the computing libraries: other versions may give other numbers."""

    def _chips(self) -> str:
        """Returns what computes on the device: another chip may round differently."""
        return processor()

    @abstractmethod
    def _cure(self) -> str:
        """Returns the remedy if the model computes NaN or infinity, as the end of that error message."""

    def _at_work(self, request: Request) -> AbstractContextManager[None]:
        """Returns the context in which a request is answered."""
        return nullcontext()

    def _notes(self, request: Request) -> tuple[str, ...]:
        """Returns warnings about a request."""
        return ()

    def _check(self, request: Request) -> None:
        """Raises EngineError for a request that does not fit the model or contradicts itself."""
        if self._checkpoint.grid(*request.pixels.shape[:3]) != request.layout.grid:
            raise EngineError(f"frames of the shape {request.pixels.shape} do not fill the grid {request.layout.grid}")

    def _loaded(self, load: Callable[[], T]) -> T:
        """Calls `load`, which loads the weights, and notes which weights these are.

        If they are replaced meanwhile, nobody knows which were loaded, and no prefix is stored or taken from the store.
        """
        self._weights = self._weights_on_disk()
        model = load()
        if not self._weights or self._weights_on_disk() != self._weights:
            self._recall = Recall(None)
        return model

    def _weights_on_disk(self) -> str:
        """Returns what identifies the weights files as they are now; empty if one is missing."""
        with suppress(OSError):
            return f"{fingerprint(self._checkpoint)} {last_changed(self._checkpoint)}"
        return ""

    def _prefix(self, request: Request) -> Prefix:
        if self._computed is None:
            self._computed = {
                "engine": self.name,
                "device": f"{self.device} {self._chips()}",
                "dtype": self.dtype,
                "weights": self._weights,
                "libraries": f"{vtcli.__version__} {self._libraries()}",
            }
        return Prefix.of(request.layout, request.pixels, self._checkpoint.video_token_id, self._computed)

    def _reply(self, request: Request, first: Logits, reader: R) -> Reply:
        ids, ends = request.layout.input_ids, self._checkpoint.eos_token_ids
        text = ids[ids != self._checkpoint.video_token_id]
        lookup = Lookup(reader.ahead, text.tolist()) if reader.ahead else None
        return Reply(first, reader, request.sampling, ends, self._tokenizer.detokenizer(), lookup)
