"""Several questions about one video: the video is read once, and its computed prefix is kept between questions."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from types import TracebackType
from typing import Any

from vtcli.ask import Listener, Plan, Question, Spent, make_plan, read
from vtcli.prompt import Prompt, build_prompt
from vtcli.record import failed_record
from vtcli.session import Session
from vtcli.video.guard import Guard
from vtcli.video.reader import Frames
from vtcli.video.source import resolve


class Chat:
    """A conversation about `question.video`; the text and prompt of `question` itself are not used.

    The constructor reads the video and starts loading the model. Each question is asked separately, as the paper's
    models were trained and as `vtcli.ask.ask` does. With `history`, earlier questions and answers are included as turns
    of the model's own template. `records` holds the answers so far. Raises every kind of VtError.
    """

    def __init__(self, question: Question, history: bool = False) -> None:
        begin = perf_counter()
        nothing_yet = replace(question, question="?")
        self.history = history
        self.records: list[dict[str, Any]] = []
        self._asked = 0
        self._turns: list[tuple[str, str]] = []
        self._base = question
        with Guard(question.read_timeout) as guard:
            self._session = Session(question)
            try:
                self._session.start()
                self.plan, self.frames = self._look(nothing_yet, guard)
            except BaseException:
                self._session.close()
                raise
        self._read = perf_counter() - begin

    def wait(self) -> float:
        """Waits for the model; the first call returns the seconds loading took. Raises EngineError, ModelError."""
        return self._session.wait()

    def ask(self, text: str, listener: Listener | None = None) -> dict[str, Any]:
        """Answers a question; returns the record `vt.answer/1` with the question's number in `turn`.

        Raises UsageError, and EngineError if the question does not fit in memory. The conversation can continue after
        either, and after KeyboardInterrupt. An interrupted question is not part of the conversation and has no number.
        """
        self._asked += 1
        try:
            return self._answer(text, listener)
        except KeyboardInterrupt:
            self._asked -= 1
            raise

    def _answer(self, text: str, listener: Listener | None) -> dict[str, Any]:
        begin = perf_counter()
        load = self.wait()
        user = build_prompt(text, self._base.choices, self._session.checkpoint.prompt)
        plan = self.plan.asking(replace(self._base, question=text, prompt=self._with_turns(user)))
        self._session.check_fit(plan)
        record = self._session.answer(plan, self.frames, Spent(load, self._read, begin), listener)
        self._read = 0.0
        record["turn"] = self._asked
        self._turns.append((user.user, record["text"]))
        self.records.append(record)
        return record

    def failure(self, text: str, error: Exception) -> dict[str, Any]:
        """Returns the record of the last question, `text`, for which `ask` raised `error`."""
        session, info = self._session, self.plan.info
        asked = replace(self._base, question=text)
        return failed_record(asked, info.path, info, session.checkpoint, session.engine, error) | {"turn": self._asked}

    def close(self) -> None:
        """Frees the model."""
        self._session.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _look(self, asked: Question, guard: Guard) -> tuple[Plan, Frames]:
        session = self._session
        with resolve(asked.video, asked.fps, asked.stream, asked.read_timeout) as source:
            plan = make_plan(asked, source, session.checkpoint, session.tokenizer, guard)
            return plan, read(plan, guard)[0]

    def _with_turns(self, prompt: Prompt) -> Prompt:
        """Returns `prompt` preceded by the earlier turns if `history` is set."""
        if not (self.history and self._turns):
            return prompt
        first, *later = [text for turn in self._turns for text in turn]
        return Prompt(prompt.system, first, (*later, prompt.user))
