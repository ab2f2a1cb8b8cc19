"""Reads the next clips while the model answers: a few threads, each with a process that reads for it.

What waits is bounded twice: in clips, and in bytes of frames, of which the clip that is wanted next always may have its
own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

from vtcli.ask import Plan, Question, make_plan
from vtcli.batch.items import Clip
from vtcli.cores import cores
from vtcli.errors import UsageError, VideoError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.video.guard import Guard
from vtcli.video.reader import Frames
from vtcli.video.source import resolve

AHEAD_BYTES = 1 << 30
"""Of frames that wait; 16 of the paper's are 5 MB, 768 of them 231 MB."""
_TICK = 0.25  # seconds between two looks at Ctrl-C, where waiting cannot be interrupted (Windows)


@dataclass(frozen=True, eq=False)
class Read:
    """A clip as it was read: `plan` and `frames`, or the `error` that came instead (`plan`: None before its frames).

    `seconds` is what that took, whoever waited for it.
    """

    clip: Clip
    plan: Plan | None
    frames: Frames | None
    error: Exception | None
    seconds: float


class ReadAhead:
    """Iterates over `clips` as they are read, in order. Used by one thread; `close` ends what is being read."""

    def __init__(
        self,
        clips: Sequence[Clip],
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        readers: int | None = None,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:
        self._clips = clips
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        readers = min(readers or max(1, min(4, cores() // 4)), len(clips))
        self._window = readers + 1
        self._limit = ahead_bytes
        self._changed = threading.Condition()
        self._next = 0  # the next clip to be read
        self._wanted = 0  # the next clip to be handed out
        self._sizes: dict[int, int] = {}  # bytes of what is being read or waits
        self._read: dict[int, Read | BaseException] = {}
        self._closed = False
        self._guards: list[Guard] = []
        for _ in range(readers):
            threading.Thread(target=self._work, daemon=True).start()

    def __iter__(self) -> Iterator[Read]:
        for number in range(len(self._clips)):
            with self._changed:
                self._wanted = number
                self._changed.notify_all()
                while number not in self._read:
                    self._changed.wait(_TICK)
                read = self._read.pop(number)
            if isinstance(read, BaseException):
                raise read
            yield read
            with self._changed:  # the model is done with it
                self._sizes.pop(number, None)
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is read; what is being read ends with its process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            guards = list(self._guards)
        for guard in guards:
            guard.close()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        """A thread: reads one clip after the other, as long as there are."""
        guard: Guard | None = None
        limit: float | None = None
        try:
            while (number := self._take()) is not None:
                clip = self._clips[number]
                asked = clip.items[0].question
                if guard is None or limit != asked.read_timeout:
                    guard, limit = self._new_guard(guard, asked), asked.read_timeout
                read = self._one(number, clip, guard)
                with self._changed:
                    self._read[number] = read
                    self._changed.notify_all()
        except BaseException as error:  # a thread that ends without a word would be waited for for ever
            with self._changed:
                self._read.setdefault(self._wanted, error)
                self._changed.notify_all()
        finally:
            if guard is not None:
                guard.close()

    def _take(self) -> int | None:
        """The number of the next clip, as soon as it is near enough; None at the end."""
        with self._changed:
            while not self._closed and self._next < len(self._clips):
                if self._next < self._wanted + self._window:
                    self._next += 1
                    return self._next - 1
                self._changed.wait()
        return None

    def _new_guard(self, old: Guard | None, asked: Question) -> Guard:
        if old is not None:
            old.close()
        guard = Guard(asked.read_timeout)
        with self._changed:
            self._guards = [each for each in self._guards if each is not old] + [guard]
        return guard

    def _one(self, number: int, clip: Clip, guard: Guard) -> Read:
        begin = perf_counter()
        plan = None
        waited = 0.0
        try:
            asked = _first_that_can_be_asked(clip)
            with resolve(asked.video, asked.fps, asked.stream, asked.read_timeout) as source:
                plan = make_plan(asked, source, self._checkpoint, self._tokenizer, guard)
                waited = self._make_room(number, 3 * plan.frames.height * plan.frames.width * len(plan.frames.indices))
                frames = guard.read_frames(plan.info, plan.frames, plan.request, asked.reader)
            return Read(clip, plan, frames, None, perf_counter() - begin - waited)
        except Exception as error:
            return Read(clip, plan, None, error, perf_counter() - begin - waited)

    def _make_room(self, number: int, size: int) -> float:
        """Waits until `size` bytes more may wait, or until this clip is the one that is waited for; the seconds."""
        begin = perf_counter()
        with self._changed:
            while not self._closed and number != self._wanted and sum(self._sizes.values()) + size > self._limit:
                self._changed.wait()
            if self._closed:  # before a process is started anew
                raise VideoError("nobody waits for it any more")
            self._sizes[number] = size
        return perf_counter() - begin


def _first_that_can_be_asked(clip: Clip) -> Question:
    """A question that can be, if there is one: the others' errors are their own."""
    for item in clip.items:
        try:
            item.question.wording()
        except UsageError:
            continue
        return item.question
    return clip.items[0].question
