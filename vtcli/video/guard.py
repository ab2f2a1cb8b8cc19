"""Reads videos in a child process under a deadline, so that no file hangs or crashes the caller.

    with Guard() as guard:
        info = guard.probe("clip.mp4")
        frames = guard.read_frames(info, plan_frames(info, request), request)

Arguments, results and errors are those of the functions `vtcli.video.probe.probe` and `vtcli.video.reader.read_frames`,
which may also be called directly: they then run in this process, without limits. Deadlines are enforced by killing the
child, so they hold even while a C library does not return. A child that crashed or was killed costs only the video it
was reading; the next call starts another child.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from vtcli.errors import VideoError
from vtcli.video.source import Source, Video
from vtcli.video.text import shown
from vtcli.video.worker import Reply, Request, Usage, receive, send

if TYPE_CHECKING:
    from vtcli.video.probe import VideoInfo
    from vtcli.video.reader import Frames
    from vtcli.video.sampling import FramePlan, FrameRequest

READ_LIMIT = 600.0  # seconds one call may take; an hour of video takes seconds
SILENCE = 60.0  # seconds without a packet or a picture: a disk that has to spin up takes 20
_START = 60.0  # seconds until a new child must be ready; it takes a third of a second
_TICK = 0.25  # seconds between two checks of the clock, and of Ctrl-C where waiting cannot be interrupted (Windows)
_WORN = 1 << 30  # bytes: a child that needed more is not kept, since its allocator may never return them
_LAST_WORDS = 8192  # bytes kept of what the child writes on stderr
_SMALLER = "make its pictures smaller"
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vtcli.video.worker import main; main()"


class Guard:
    """Keeps one child process for one video at a time, started at once so that its start overlaps with other work.

    limit: seconds one call may take, None for no limit. silence: seconds without a packet or a picture after which a
    call is ended, at most `limit`. memory: bytes the child may allocate (Linux), by default half of the machine's
    memory. Where no child can be started, calls run in this process and `probe` adds a warning. Only one thread may use
    a Guard at a time; several threads need one each. `usage`: what the last call used.
    """

    def __init__(self, limit: float | None = READ_LIMIT, silence: float = SILENCE, memory: int | None = None) -> None:
        self.usage = Usage(0.0, 0)
        self._limit = limit
        self._silence = None if limit is None else min(silence, limit)
        self._memory = _half_of_memory() if memory is None else memory
        self._child: _Child | None = None
        self._unguarded = ""  # why there is no child
        self._start()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if the last call ran without a time limit."""
        return (f"read without a time limit: {self._unguarded}",) if self._unguarded else ()

    def probe(self, video: Video) -> VideoInfo:
        """Like `vtcli.video.probe.probe`. A file that takes too long or crashes a decoder raises VideoError too."""
        import vtcli.video.probe  # noqa: F401  # needed to unpack the reply; imported while the child starts

        info = cast("VideoInfo", self.run(video, "vtcli.video.probe:probe", video))
        return replace(info, warnings=(*info.warnings, *self.warnings)) if self.warnings else info

    def read_frames(self, info: VideoInfo, plan: FramePlan, request: FrameRequest, reader: str = "auto") -> Frames:
        """Like `vtcli.video.reader.read_frames`; also raises VideoError as `probe` does."""
        return cast("Frames", self.run(info.video, "vtcli.video.reader:read_frames", info, plan, request, reader))

    def run(self, video: Video, function: str, *arguments: Any) -> Any:
        """Runs `function` ("module:name") in the child; returns or raises what it does. Messages name `video`."""
        child = self._ready_child()
        if child is None:
            return pkgutil.resolve_name(function)(*arguments)
        try:
            child.ask(Request(function, arguments, self._limit))
            reply = child.answer(self._silence, self._limit)
        except _LostError as lost:
            self.close()
            raise VideoError(lost.message.format(_name(video))) from lost.cause
        except BaseException:  # Ctrl-C: no caller is left to wait for the reply
            self.close()
            raise
        self.usage = reply.usage
        if reply.usage.memory > _WORN:
            self.close()
        if reply.error is None:
            return reply.value
        cause = _ChildError(reply.traceback)
        if isinstance(reply.error, MemoryError):
            most = f"{self._memory / 1e9:.3g} GB" if self._memory else "there is"
            raise VideoError(f"{_name(video)} needs more memory than {most} to read; {_SMALLER}") from cause
        raise reply.error from cause

    def close(self) -> None:
        """Ends the child, whatever it is doing. A later call starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        try:
            self._child = _Child(self._memory)
        except OSError as error:  # no permission, no memory or no room for a process
            self._unguarded = f"no process can be started here ({error.strerror or error})"

    def _ready_child(self) -> _Child | None:
        """Returns the child, started if there is none; None if none can be started."""
        if self._child is not None and self._child.is_gone():
            self.close()
        if self._child is None and not self._unguarded:
            self._start()
        child = self._child
        if child is None or child.ready:
            return child
        try:
            child.answer(_START, _START)
            child.ready = True
        except _LostError:
            last = child.last_words().strip().rpartition("\n")[2]
            self.close()
            self._unguarded = f"the process that reads does not start ({last or 'for no stated reason'})"
            return None
        except BaseException:
            self.close()
            raise
        return child


class _LostError(Exception):
    """No reply will come. `message` says why, with {} for the file's name; `cause` is what the child wrote."""

    def __init__(self, message: str, cause: _ChildError | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause


class _ChildError(Exception):
    """The child's report of a failure: the cause of the error that is raised here, shown by --debug."""

    def __str__(self) -> str:
        return f"in the process that reads:\n{self.args[0].strip()}"


class _Child:
    """The process and its pipes. `ready`: whether it has reported that it is ready."""

    def __init__(self, memory: int) -> None:
        self.ready = False
        self._messages: SimpleQueue[Any] = SimpleQueue()
        self._words = b""
        self._process = subprocess.Popen(
            [sys.executable, *_flags(), "-c", _BOOT, json.dumps([str(p) for p in sys.path]), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # pictures are already resized in parallel
            creationflags=_WINDOWS_FLAGS,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._requests = cast(BinaryIO, self._process.stdin)
        self._threads = [
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._overhear, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, request: Request) -> None:
        """Sends `request`. Raises _LostError."""
        try:
            send(self._requests, request)
        except OSError:
            raise self._lost() from None

    def answer(self, silence: float | None, limit: float | None) -> Reply:
        """Returns the next reply. Raises _LostError, at the latest after `limit` seconds or `silence` s without a beat.

        Time during which this process was stopped or the machine slept does not count.
        """
        quiet = elapsed = 0.0
        last = time.monotonic()
        while True:
            message: Any = Empty
            with suppress(Empty):
                message = self._messages.get(timeout=_TICK)
            now = time.monotonic()
            step, last = min(now - last, 4 * _TICK), now
            if isinstance(message, Reply):
                return message
            if isinstance(message, EOFError):
                raise self._lost()
            if isinstance(message, BaseException):  # a reply that cannot be unpacked
                raise message
            elapsed += step
            quiet = 0.0 if message is None else quiet + step
            if limit is not None and elapsed >= limit:
                raise _LostError(f"{{}} took longer than {limit:g} s to read; --read-timeout SECONDS allows more")
            if silence is not None and quiet >= silence:
                what = f"{{}} gave nothing for {silence:g} s"
                raise _LostError(f"{what}; it is damaged, or the disk or server it lies on does not answer")

    def _lost(self) -> _LostError:
        """Returns the error that explains why the process closed its end of the pipe."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        words = self.last_words()
        return _LostError(_crash(self._process.returncode), _ChildError(words) if words else None)

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Returns the end of what the child wrote to stderr."""
        self._threads[1].join(timeout=1)
        return self._words.decode(errors="replace")

    def kill(self) -> None:
        self._process.kill()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # in an uninterruptible system call, as on a dead network disk
            return
        for thread in self._threads:
            thread.join(timeout=1)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):  # a request that was never read
                stream.close()  # type: ignore[union-attr]  # all three are pipes

    def _listen(self, stream: BinaryIO) -> None:
        try:
            while True:
                self._messages.put(receive(stream))
        except Exception as error:
            self._messages.put(error)

    def _overhear(self, stream: BinaryIO) -> None:
        while block := stream.read1(_LAST_WORDS):  # type: ignore[attr-defined]  # a buffered reader
            self._words = (self._words + block)[-_LAST_WORDS:]


_WINDOWS_FLAGS = 0
if sys.platform == "win32":
    # Ctrl-C goes only to the parent, and no console window opens.
    _WINDOWS_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW


def _name(video: Video) -> str:
    """Returns the name for messages. Does not touch the file, which may be where any access blocks forever."""
    return video.label if isinstance(video, Source) else shown(video)


def _flags() -> list[str]:
    """Returns this interpreter's own flags for module search and file names. -P: do not search the current folder."""
    flags = ["-P", "-X", f"utf8={sys.flags.utf8_mode}"]
    return flags + ["-E"] * sys.flags.ignore_environment + ["-s"] * sys.flags.no_user_site


def _half_of_memory() -> int:
    """Returns half of the machine's memory in bytes; 0 where the system does not report it."""
    if sys.platform == "win32":
        return 0
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return 0


def _crash(code: int | None) -> str:
    """Returns the message about the file {} for a process that ended on its own with `code`."""
    if code == -9:
        return f"reading {{}} was ended by the system (signal 9), as happens when memory runs out; {_SMALLER}"
    if code is None:
        how = "no exit code"
    elif code < 0:
        how = f"signal {-code}"
        with suppress(ValueError):  # a real-time signal has no name
            how += f", {signal.Signals(-code).name}"
    else:
        how = f"exit code {code:#x}" if code > 255 else f"exit code {code}"  # Windows: 0xc0000005
    return f"the decoder crashed on {{}} ({how}); re-encode the file or try another --reader"
