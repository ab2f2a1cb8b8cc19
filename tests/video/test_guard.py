"""Reading in a child process: hangs end, crashes cost one video, errors keep their kind, nobody is left behind."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import zlib
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from tests.e2e.conftest import COMMAND, ROOT
from tests.video.conftest import Clip
from vtcli.errors import UsageError, VideoError, VtError
from vtcli.video.guard import Guard
from vtcli.video.probe import probe
from vtcli.video.reader import read_frames
from vtcli.video.sampling import FrameRequest, plan_frames
from vtcli.video.source import source_of

NEVER_ENDS = ("re:match", "(a|a)*b", "a" * 64)  # in C, and without letting another Python thread run

posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def is_alive(pid: int) -> bool:
    """Whether `pid` runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pid: int, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def reading_child(pid: int, seconds: float = 60) -> int:
    """The process that `pid` has started for reading, as soon as it is that program."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                for child in (thread / "children").read_text().split():
                    if b"vtcli.video.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        time.sleep(0.005)
    raise AssertionError("it started none")


def test_as_without(clip: Clip) -> None:
    path, request = clip(frames=60), FrameRequest(frames=8)
    with Guard() as guard:
        info = guard.probe(path)
        assert info == probe(path)
        plan = plan_frames(info, request)
        frames, plain = guard.read_frames(info, plan, request), read_frames(info, plan, request)
        assert np.array_equal(frames.pixels, plain.pixels)
        assert (frames.indices, frames.times, frames.plan, frames.warnings) == (
            plain.indices, plain.times, plain.plan, plain.warnings,
        )  # fmt: skip
        assert frames.pixels.flags.writeable
        assert guard.usage.cpu > 0


def test_one_child_serves_many_videos(clip: Clip) -> None:
    with Guard() as guard:
        first = guard.run("", "os:getpid")
        for frames in (5, 6):
            assert guard.probe(clip(frames=frames)).frames == frames
        assert guard.run("", "os:getpid") == first != os.getpid()


def test_errors_keep_their_kind_and_text(tmp_path: Path, clip: Clip) -> None:
    path = tmp_path / "a\x1b[31m.mp4"
    with pytest.raises(VideoError) as plain:
        probe(path)
    request = FrameRequest()
    with Guard() as guard:
        with pytest.raises(VideoError) as guarded:
            guard.probe(path)
        assert str(guarded.value) == str(plain.value)
        assert "in open_video" in "".join(traceback.format_exception(guarded.value))  # what --debug prints
        info = guard.probe(clip())
        with pytest.raises(UsageError, match="--reader"):
            guard.read_frames(info, plan_frames(info, request), request, "opencv")
        with pytest.raises(ZeroDivisionError, match="division"):
            guard.run(path, "operator:truediv", 1, 0)
        with pytest.raises(RuntimeError, match="Odd: text"):  # its class is not there to make it again
            guard.run(path, "builtins:exec", "class Odd(Exception): pass\nraise Odd('text')")


@pytest.mark.parametrize("call", [("time:sleep", 1e6), NEVER_ENDS])
def test_a_hang_ends(call: tuple[str, object]) -> None:
    with Guard(limit=1) as guard:
        pid = guard.run("", "os:getpid")
        begin = time.monotonic()
        with pytest.raises(VideoError) as error:
            guard.run("slow\n.mp4", *call)
        assert 0.9 < time.monotonic() - begin < 30
        assert str(error.value) == "'slow\\n.mp4' took longer than 1 s to read; --read-timeout SECONDS allows more"
        assert not is_alive(pid)
        assert guard.run("", "operator:add", 1, 2) == 3


def test_silence_ends_and_packets_are_signs_of_life(clip: Clip) -> None:
    path = clip(frames=50)
    with Guard(silence=1) as guard:
        with pytest.raises(VideoError, match="gave nothing for 1 s"):
            guard.run(path, "time:sleep", 1e6)
        # Ten thousand packets a call, and no call to sleep: it goes on for longer than the silence that is borne.
        script = "import time; from vtcli.video.probe import probe; end = time.monotonic() + 3"
        guard.run(path, "builtins:exec", f"{script}\nwhile time.monotonic() < end: probe({str(path)!r})")


@posix
@pytest.mark.parametrize(
    ("call", "how"),
    [
        (("ctypes:string_at", 0), "signal 11, SIGSEGV"),
        (("os:abort",), "signal 6, SIGABRT"),
        (("os:_exit", 3), "exit code 3"),
    ],
)
def test_a_crash_costs_one_video(clip: Clip, call: tuple[str, object], how: str) -> None:
    with Guard() as guard:
        with pytest.raises(VideoError) as error:
            guard.run("bad.mp4", *call)
        assert str(error.value).startswith("the decoder crashed on bad.mp4 (")
        assert how in str(error.value)
        if "signal" in how:
            assert "most recent call first" in "".join(traceback.format_exception(error.value))
        for frames in (3, 4):
            assert guard.probe(clip(frames=frames)).frames == frames


@posix
def test_a_child_that_the_system_kills_between_videos_is_replaced(clip: Clip) -> None:
    with Guard() as guard:
        pid = guard.run("", "os:getpid")
        child = guard._child
        os.kill(pid, signal.SIGKILL)
        assert child is not None and wait_until_gone(pid)
        while not child.is_gone():  # the system reaps a process only when the last of its threads has ended
            time.sleep(0.02)
        assert guard.probe(clip(frames=5)).frames == 5


def test_big_results() -> None:
    """As much as 768 frames can be: 250 MB."""
    with Guard() as guard:
        zeros = guard.run("", "numpy:zeros", (768, 392, 280, 3), "uint8")
        assert (zeros.shape, zeros.dtype, int(zeros.max())) == ((768, 392, 280, 3), np.uint8, 0)


@linux
def test_memory_has_an_end() -> None:
    with Guard(memory=1 << 30) as guard:
        with pytest.raises(VideoError, match=r"big\.mp4 needs more memory than 1\.07 GB") as error:
            guard.run("big.mp4", "numpy:ones", 1 << 31, "uint8")
        assert "\n" not in str(error.value)
        guard.run("", "numpy:ones", 1 << 28, "uint8")
        assert 1 << 28 < guard.usage.memory < 1 << 30
        guard.run("", "math:sqrt", 4)
        assert guard.usage.memory < 1 << 28  # each call counts for itself


@linux
def test_a_decoder_that_runs_out_of_memory_says_so(tmp_path: Path) -> None:
    """Not that the file were damaged."""
    path = tmp_path / "large.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8192, 8190, "yuvj420p"
        stream.codec_context.thread_count = 1
        container.mux(stream.encode(av.VideoFrame(8192, 8190, "yuvj420p")))
        container.mux(stream.encode(None))
    with (
        Guard(memory=1 << 27) as guard,
        pytest.raises(VideoError, match=r"large\.mov needs more memory than 0\.134 GB"),
    ):
        guard.probe(path)


@linux
def test_a_claim_of_size_costs_no_memory(tmp_path: Path) -> None:
    """400 bytes that say they are a picture of 11000x11000 pixels, and a film of more than is read."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">2I5B", 11000, 11000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(33001 * 10))
    still = tmp_path / "still.png"
    still.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 16384, 4100, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16384, 4100, "yuv420p")))
        container.mux(stream.encode(None))
    with Guard() as guard:
        for path, says in [(still, "no frame that can be decoded"), (film, "16384x4100 pixels are too large")]:
            with pytest.raises(VideoError, match=says):
                guard.probe(path)
            assert guard.usage.memory < 2e8


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as server, Guard(silence=1) as guard:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4?token=secret"
        with pytest.raises(VideoError, match="gave nothing for 1 s") as error:
            guard.probe(source_of(address))
        assert "secret" not in str(error.value)


def test_nothing_a_library_prints_gets_anywhere(capfd: pytest.CaptureFixture[str]) -> None:
    with Guard() as guard:
        for number in (1, 2):
            assert guard.run("", "os:write", number, b"noise\n" * 100) == 600
        assert guard.run("", "os:read", 0, 10) == b""
        assert guard.run("", "operator:add", 1, 2) == 3
    assert capfd.readouterr() == ("", "")


def test_the_current_folder_is_not_searched(tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(frames=5)
    for name in ("av", "numpy", "json", "pickle"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(7)")
    monkeypatch.chdir(tmp_path)
    with Guard() as guard:
        info = guard.probe(path)
    assert (info.frames, info.warnings) == (5, ())


def test_two_at_a_time(clip: Clip) -> None:
    path = clip(frames=40)
    found: list[int] = []

    def work() -> None:
        with Guard() as guard:
            found.extend(guard.probe(path).frames for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [40] * 6


def test_without_a_child(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started, the video is read here, and the user is told."""
    path, request = clip(frames=20), FrameRequest(frames=4)
    for executable in (str(path), "/nowhere/python"):  # neither can be run
        monkeypatch.setattr(sys, "executable", executable)
        with Guard() as guard:
            info = guard.probe(path)
            assert len(info.warnings) == 1
            assert info.warnings[0].startswith("read without a time limit: no process can be started here (")
            assert len(guard.read_frames(info, plan_frames(info, request), request).pixels) == 4


@posix
def test_a_child_that_does_not_start(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: av is broken' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with Guard() as guard:
        assert guard.probe(clip(frames=5)).warnings == (
            "read without a time limit: the process that reads does not start (ImportError: av is broken)",
        )


@linux
@pytest.mark.parametrize(
    ("limit", "call"),
    [
        (600, ("time:sleep", 1e6)),
        pytest.param(1, NEVER_ENDS, marks=pytest.mark.slow),  # its own clock ends it, 20 s after its time
    ],
)
def test_no_child_outlives_its_parent(limit: float, call: tuple[str, object]) -> None:
    script = f"""
        from vtcli.video.guard import Guard
        guard = Guard(limit={limit})
        print(guard.run("", "os:getpid"), flush=True)
        guard.run("", *{call})
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", textwrap.dedent(script)]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until_gone(pid, 60)


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_at_once_when_told_to(clip: Clip, tmp_path: Path, number: signal.Signals) -> None:
    """Its child is stopped, which is as good as a hang; Ctrl-C reaches both, as from a terminal."""
    process = subprocess.Popen(
        [*COMMAND, "frames", str(clip()), "-o", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    child = reading_child(process.pid)
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.5)
    assert process.poll() is None
    begin = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - begin < 10
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert (out, err) == (b"", b"")
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)  # where nobody ended it: it wakes, and finds that it is alone
    assert wait_until_gone(child)
    assert not (tmp_path / "out").exists()


def test_the_tree_of_errors_survives_the_way() -> None:
    import pickle

    kinds = [VtError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        error = pickle.loads(pickle.dumps(kind("text")))
        assert (type(error), str(error)) == (kind, "text")
    assert len(kinds) > 4


def test_the_command_itself_loads_no_codec(clip: Clip) -> None:
    """Twice the start-up time for nothing, and a door open to hostile files."""
    script = "import sys; from vtcli.__main__ import run; run(sys.argv[1:]); print({'av', 'numpy'} & {*sys.modules})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, "probe", str(clip())], env=environment, capture_output=True, text=True
    )
    assert "50 at 25 a second" in done.stdout
    assert done.stdout.endswith("set()\n")
