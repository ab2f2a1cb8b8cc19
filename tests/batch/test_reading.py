"""Reading ahead: in order, bounded in clips and in bytes, and over when it is closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.batch.conftest import Make
from tests.conftest import ROOT
from tests.video.web import serve
from vtcli.background import Background
from vtcli.batch import reading
from vtcli.batch.items import in_turn
from vtcli.batch.reading import Read, ReadAhead
from vtcli.session import Session
from vtcli.video.guard import Guard

pytest.importorskip("torch")


def wait_for(reads: ReadAhead, count: int) -> None:
    """Until `count` clips wait to be taken."""
    deadline = time.monotonic() + 30
    while len(reads._read) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(reads._read) == count


@pytest.mark.parametrize("readers", [1, 3])
def test_clips_come_in_order_each_with_its_frames(make: Make, session: Session, readers: int) -> None:
    clips = in_turn(make())
    with ReadAhead(clips, session.checkpoint, session.tokenizer, readers) as reads:
        got = list(reads)
    assert [read.clip for read in got] == clips
    assert all(read.error is None and read.frames is not None for read in got)
    assert len({read.frames.pixels.tobytes() for read in got if read.frames}) == len(clips)


def test_no_more_is_read_than_may_wait(make: Make, session: Session) -> None:
    clips = in_turn(make())
    with ReadAhead(clips, session.checkpoint, session.tokenizer, 1) as reads:
        wait_for(reads, 2)
        time.sleep(0.5)
        assert len(reads._read) == 2  # the window of one reader
        assert len(list(reads)) == 4


@pytest.mark.parametrize("readers", [1, 3])
def test_bytes_are_bounded_but_the_next_clip_is_always_read(make: Make, session: Session, readers: int) -> None:
    clips = in_turn(make())
    most = 0
    with ReadAhead(clips, session.checkpoint, session.tokenizer, readers, ahead_bytes=1) as reads:
        got: list[Read] = []
        for read in reads:
            time.sleep(0.2)  # an engine at work, while others could read
            most = max(most, len(reads._read))
            got.append(read)
    assert (len(got), most) == (4, 0)


def test_a_decoder_that_crashes_costs_its_clip(make: Make, session: Session) -> None:
    items = make(questions=1)
    me = psutil.Process()
    with ReadAhead(in_turn(items), session.checkpoint, session.tokenizer, 1) as reads:
        got = []
        for read in reads:
            got.append(read)
            if len(got) == 1:
                wait_for(reads, 1)
                for child in me.children():
                    child.kill()
    assert len(got) == 4
    assert all(read.error is None or "signal 9" in str(read.error) for read in got)
    assert got[-1].error is None


def test_a_thread_that_dies_ends_the_run(make: Make, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is not lost because the clip before is there already: nobody would read the one it died over."""
    clips = in_turn(make(questions=1, read_timeout=60.0)[:1] + make(questions=1, read_timeout=30.0)[1:])
    died = threading.Event()

    def guard(timeout: float) -> Guard:
        if timeout == 60.0:
            return Guard(timeout)
        died.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(reading, "Guard", guard)
    with ReadAhead(clips, session.checkpoint, session.tokenizer, 1) as reads:
        assert died.wait(30)
        every = iter(reads)
        assert next(every).error is None
        following = Background(lambda: next(every))
        following._thread.join(10)
        assert following.done
        with pytest.raises(RuntimeError, match="can't start"):
            following.result()


def test_closing_ends_the_processes_that_read(make: Make, session: Session) -> None:
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    reads = ReadAhead(in_turn(make()), session.checkpoint, session.tokenizer, 2)
    next(iter(reads))
    started = [child for child in me.children() if child.pid not in before]
    assert started
    reads.close()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive


@pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped as POSIX has it")
def test_a_video_that_takes_too_long_is_given_up_and_the_next_read(make: Make, session: Session) -> None:
    clips = in_turn(make(questions=1, read_timeout=1.0))
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    with ReadAhead(clips, session.checkpoint, session.tokenizer, 1) as reads:
        wait_for(reads, 2)
        for child in me.children():
            if child.pid not in before:
                child.suspend()
        got = list(reads)
    assert [read.error is None for read in got] == [True, True, False, True]
    assert "took longer than 1 s to read" in str(got[2].error) or "gave nothing for 1 s" in str(got[2].error)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_copy_of_an_address_is_left_behind(
    clips: list[Path], random_checkpoint: Path, tmp_path: Path, number: int
) -> None:
    """Threads copy it, which no signal reaches; on Linux the copy would have no name."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    boot = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from vtcli.video import source; source._NAMELESS = False\n"
        "from vtcli.__main__ import main; sys.exit(main())"
    )
    asked = ["-q", "what?", "-o", str(tmp_path / "out.jsonl"), "-m", str(random_checkpoint)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    with serve(clips[0].parent) as web:
        web.ranges, web.drip = False, 0.1
        command = [sys.executable, "-c", boot, "batch", f"{web.address}/{clips[0].name}", *asked]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8") as process:
            deadline = time.monotonic() + 60
            while not list(temporary.glob("vt-*/video")) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert list(temporary.glob("vt-*/video"))
            process.send_signal(number)
            _, words = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number), words
    assert "Traceback" not in words
    assert list(temporary.glob("vt-*")) == []
