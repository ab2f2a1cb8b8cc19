"""A model that stays open for many questions: it is loaded once, in the background."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from vtcli.ask import Listener, Plan, Question, Spent, answer, choose_engine, lay_out
from vtcli.background import Background
from vtcli.engines.device import VALUE_BYTES
from vtcli.memory import Clip, check_fit
from vtcli.models.checkpoint import open_checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.tokens import FRAME_FACTOR, IMAGE_FACTOR
from vtcli.video.reader import Frames

_LEAST = Clip(FRAME_FACTOR, IMAGE_FACTOR, IMAGE_FACTOR, 1)
"""The smallest possible question: if it does not fit, no other does."""


class Session:
    """The model that `question` names, and its engine. For use from one thread.

    The constructor raises ModelError, EngineError and UsageError as `vtcli.ask.ask` does, before anything is loaded.
    """

    def __init__(self, question: Question) -> None:
        self.checkpoint = open_checkpoint(question.model, projector=question.projector)
        self.tokenizer = Tokenizer(self.checkpoint.path)
        self.engine = choose_engine(self.checkpoint, self.tokenizer, question)
        self._loading: Background[int] | None = None
        self._loaded = False

    def start(self) -> None:
        """Starts loading; a second call does nothing."""
        if self._loading is None:
            self._loading = Background(self._load)

    def wait(self) -> float:
        """Waits for the model; the first call returns the seconds loading took. Raises EngineError, ModelError."""
        self.start()
        assert self._loading is not None
        self._loading.result()
        first, self._loaded = not self._loaded, True
        return self._loading.seconds if first else 0.0

    def check_fit(self, plan: Plan) -> None:
        """Raises EngineError if a question, weights included, needs more memory than was free before loading."""
        self.wait()
        assert self._loading is not None
        engine, free = self.engine, self._loading.result()
        check_fit(self.checkpoint, plan.clip(), VALUE_BYTES[engine.dtype], engine.device, free)

    def answer(self, plan: Plan, frames: Frames, spent: Spent, listener: Listener | None = None) -> dict[str, Any]:
        """Returns the record of a question whose frames are read. Raises EngineError."""
        self.wait()
        return answer(self.engine, plan, frames, lay_out(plan, frames), spent, listener)

    def close(self) -> None:
        """Frees the model; a model that is still loading is freed once loaded."""
        if self._loading is not None and not self._loading.done:
            Background(self._discard)
        else:
            self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _load(self) -> int:
        """Opens the engine; returns the bytes that were free on its device before."""
        engine = self.engine
        engine.prepare()
        free = engine.free_memory()
        check_fit(self.checkpoint, _LEAST, VALUE_BYTES[engine.dtype], engine.device, free)
        engine.open()
        return free

    def _discard(self) -> None:
        assert self._loading is not None
        self._loading.wait()
        self.engine.close()
