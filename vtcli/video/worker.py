"""The child process of `vtcli.video.guard`: runs the parent's calls, one at a time.

Requests come on the original standard input, replies go to the original standard output; both descriptors then lead to
the null device, so that nothing a codec prints gets between the replies. A message is the number of its blocks, their
lengths, and the blocks (pickle protocol 5: the pickle, then its arrays, uncopied). Both ends of the pipe are this
program with this user's rights, so the pickles cross no trust boundary.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import pickle
import pkgutil
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, BinaryIO

_BEAT = 0.5  # seconds between two heartbeats
_GRACE = 20.0  # seconds a call may outlive its limit if no parent is left to end it
_LONGEST = 1e6  # longest time in seconds that the timer can be set to

if sys.platform == "win32":
    import msvcrt
else:
    import resource


@dataclass(frozen=True)
class Request:
    """A call: `function` as "module:name", and the seconds after which the process may end itself (None: never)."""

    function: str
    arguments: tuple[Any, ...]
    limit: float | None


@dataclass(frozen=True)
class Usage:
    """What a call used: CPU seconds, and the most memory the process held meanwhile (bytes; 0 where unknown)."""

    cpu: float
    memory: int


@dataclass(frozen=True)
class Reply:
    """How a call ended: with `value`, or with `error` and where it was raised."""

    value: Any
    error: BaseException | None
    traceback: str
    usage: Usage


def send(stream: BinaryIO, message: Any) -> None:
    """Writes `message`; None is a heartbeat and has no blocks."""
    buffers: list[pickle.PickleBuffer] = []
    blocks: list[Any] = []
    if message is not None:
        blocks = [pickle.dumps(message, protocol=5, buffer_callback=buffers.append)]
        blocks += [buffer.raw() for buffer in buffers]
    stream.write(struct.pack(f"<I{len(blocks)}Q", len(blocks), *(len(block) for block in blocks)))
    for block in blocks:
        stream.write(block)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Returns the next message. Raises EOFError when the other end is gone."""
    (count,) = struct.unpack("<I", _exactly(stream, 4))
    sizes = struct.unpack(f"<{count}Q", _exactly(stream, 8 * count))
    blocks = [_exactly(stream, size) for size in sizes]
    return pickle.loads(blocks[0], buffers=blocks[1:]) if blocks else None


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if not (got := stream.readinto(view)):  # type: ignore[attr-defined]  # a buffered reader
            raise EOFError
        view = view[got:]
    return data


def main() -> None:
    """Serves until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    requests, replies = _own_streams()
    faulthandler.enable()
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a decoder's crash leaves no core dump
        _limit_memory(int(sys.argv[2]))
    from vtcli.video import probe, pulse  # noqa: F401  # imported before the parent waits

    voice = _Voice(replies)
    voice.say(Reply(None, None, "", Usage(0.0, 0)))
    pulse.listen(voice.beat)
    calls = SimpleQueue[Request]()
    threading.Thread(target=_take, args=(requests, calls), daemon=True).start()
    gc.freeze()  # imported objects stay, so collections after each call can skip them
    while True:
        voice.say(_serve(calls.get()))
        from vtcli.video import reader  # noqa: F401  # imported while the parent makes its plan

        _free()


class _Voice:
    """Sends messages to the parent; several threads may share it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last = 0.0

    def say(self, message: Reply) -> None:
        with self._lock:
            send(self._stream, message)

    def beat(self) -> None:
        now = time.monotonic()
        if now - self._last < _BEAT or not self._lock.acquire(blocking=False):
            return
        try:
            self._last = now
            send(self._stream, None)
        finally:
            self._lock.release()


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Returns the pipe's two ends under new descriptors; 0 and 1 then lead to the null device."""
    ends = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nowhere, number)
    if sys.platform == "win32":
        for end in ends:
            msvcrt.setmode(end, os.O_BINARY)
    return os.fdopen(ends[0], "rb"), os.fdopen(ends[1], "wb")


def _take(stream: BinaryIO, calls: SimpleQueue[Request]) -> None:
    """Passes requests on, and ends the process at once when the pipe closes: it has no parent then."""
    try:
        while True:
            calls.put(receive(stream))
    except (EOFError, OSError):
        os._exit(0)
    except Exception:  # a request that cannot be unpacked
        traceback.print_exc()
        os._exit(1)


def _serve(request: Request) -> Reply:
    if request.limit is not None:  # works even while a C library holds the GIL and the parent is dead
        faulthandler.dump_traceback_later(min(request.limit + _GRACE, _LONGEST), exit=True)
    _forget_peak()
    begin = time.process_time()
    value: Any = None
    error: Exception | None = None
    trace = ""
    try:
        value = _function(request.function)(*request.arguments)
    except MemoryError as raised:
        error, trace = MemoryError(), "".join(traceback.format_exception(raised))
    except Exception as raised:
        error, trace = _sendable(raised), "".join(traceback.format_exception(raised))
    finally:
        faulthandler.cancel_dump_traceback_later()
    return Reply(value, error, trace, Usage(time.process_time() - begin, _peak()))


def _function(name: str) -> Callable[..., Any]:
    return pkgutil.resolve_name(name)  # type: ignore[no-any-return]


def _sendable(error: Exception) -> Exception:
    """Returns `error` itself if it survives pickling, else a RuntimeError with its name and text."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # a foreign class may raise anything when pickled
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")


if sys.platform != "win32":

    def _limit_memory(memory: int) -> None:
        """Makes allocations beyond `memory` bytes fail, and this process the first that the OOM killer ends."""
        if memory:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")


def _free() -> None:
    """Frees what the last call used: decoders survive in reference cycles, their pictures in the allocator."""
    gc.collect()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak() -> int:
    """Returns the peak memory since `_forget_peak`, in bytes; 0 on systems other than Linux."""
    with suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) * 1024
    return 0
