"""Reads the next clips while the model answers, in a few threads, each with a child process that does the reading.

Two limits bound the clips that wait: their number, and the bytes of their frames. The clip that is wanted next is
exempt from the byte limit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

from vtcli.ask import Plan, Question, make_plan
from vtcli.batch.items import Clip
from vtcli.cores import cores
from vtcli.errors import UsageError, VideoError
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.signals import cleaned_up
from vtcli.video.guard import Guard
from vtcli.video.reader import Frames
from vtcli.video.source import may_leave_copy, remove_copies, resolve

AHEAD_BYTES = 1 << 30
"""Limit on waiting frames; 16 of the paper's frames take 5 MB, 768 of them 231 MB."""
_TICK = 0.25  # seconds between two checks for Ctrl-C, where waiting cannot be interrupted (Windows)


@dataclass(frozen=True, eq=False)
class Read:
    """The result of reading a clip: `plan` and `frames`, or an `error` (with `plan`, if planning had succeeded).

    `seconds`: how long the reading took, whether or not the model waited for it.
    """

    clip: Clip
    plan: Plan | None
    frames: Frames | None
    error: Exception | None
    seconds: float


class ReadAhead:
    """Iterates over `clips` in order, as they are read. For one consumer thread; `close` aborts reads in progress.

    Until `close`, SIGTERM and SIGHUP remove the temporary copies of addresses before they end the process.
    """

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
        self._sizes: dict[int, int] = {}  # bytes of the clips being read or waiting, by clip
        self._read: dict[int, Read | BaseException] = {}
        self._closed = False
        self._guards: list[Guard] = []
        self._signals = ExitStack()
        if any(may_leave_copy(clip.items[0].question.video) for clip in clips):
            self._signals.enter_context(cleaned_up(remove_copies))  # the threads that read cannot handle signals
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
        """Stops reading; reads in progress end with their child processes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            guards = list(self._guards)
        for guard in guards:
            guard.close()
        self._signals.close()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        """Runs in each thread: reads one clip after another until none is left."""
        guard: Guard | None = None
        limit: float | None = None
        number: int | None = None
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
        except BaseException as error:  # otherwise the consumer would wait forever
            with self._changed:
                self._read[self._wanted if number is None else number] = error
                self._changed.notify_all()
        finally:
            if guard is not None:
                guard.close()

    def _take(self) -> int | None:
        """Returns the number of the next clip as soon as it is within the read-ahead window; None at the end."""
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
        """Waits until the limit allows `size` more bytes, or until this clip is wanted next; returns the seconds."""
        begin = perf_counter()
        with self._changed:
            while not self._closed and number != self._wanted and sum(self._sizes.values()) + size > self._limit:
                self._changed.wait()
            if self._closed:  # before another child process is started
                raise VideoError("nobody waits for it any more")
            self._sizes[number] = size
        return perf_counter() - begin


def _first_that_can_be_asked(clip: Clip) -> Question:
    """Returns the clip's first valid question, if it has one; each other question reports its own error."""
    for item in clip.items:
        try:
            item.question.wording()
        except UsageError:
            continue
        return item.question
    return clip.items[0].question
