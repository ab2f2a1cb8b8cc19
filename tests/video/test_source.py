"""What may be named as VIDEO besides a file: an address, standard input, a folder of pictures, one of several streams.

Every one gives the frames that the plain file gives, or one line.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import av
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.video.conftest import Clip, number_of, picture
from tests.video.web import Web, serve
from vtcli.errors import UsageError, VideoError, VtError
from vtcli.video import remote, source
from vtcli.video.container import open_bytes, open_video
from vtcli.video.guard import Guard
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames
from vtcli.video.source import Source, resolve, source_of


def read(
    video: str | Path, frames: int | None = None, fps: float | None = None, stream: int | None = None
) -> tuple[VideoInfo, Frames]:
    with resolve(video, fps, stream) as resolved:
        frames, fps = resolved.sampling(frames, fps)
        info = probe(resolved)
        request = FrameRequest(frames=frames or 16, fps=fps)
        return info, read_frames(info, plan_frames(info, request), request)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; empty at the end of every test that copies something."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve(tmp_path) as server:
        yield server
    remote._remotes.clear()


@pytest.fixture
def film(noise: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(noise, tmp_path / "film.mp4"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 12 MB: 40 groups of pictures of 10 frames, a frame a second, the index at the end."""
    path = tmp_path_factory.mktemp("noise") / "film.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1, options={"g": "10", "qmin": "2", "qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for _ in range(400):
            pixels = random.integers(0, 256, (144, 176, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.webm"])
def test_an_address_is_read_as_the_file_is(clip: Clip, web: Web, name: str) -> None:
    path = clip(name, frames=60, codec="libvpx" if name.endswith("webm") else "libx264")
    info, frames = read(f"{web.address}/{name}")
    there, expected = read(path)
    assert (info.times, info.fps, info.width, info.height) == (there.times, there.fps, there.width, there.height)
    assert np.array_equal(frames.pixels, expected.pixels)
    assert (info.path, info.warnings) == (f"{web.address}/{name}", ())
    assert pickle.loads(pickle.dumps(info)) == info


def test_only_what_is_looked_at_is_fetched(film: Path, web: Web) -> None:
    info, frames = read(f"{web.address}/film.mp4", frames=4)
    assert np.array_equal(frames.pixels, read(film, frames=4)[1].pixels)
    assert info.frames == 400
    assert web.bytes_served < film.stat().st_size / 2


def test_nothing_is_fetched_twice(film: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LONGEST_RUN", 8)
    read(f"{web.address}/film.mp4")
    fetched = sorted(web.served, key=lambda part: part.start)
    assert all(a.stop <= b.start for a, b in pairwise(fetched))
    assert len(web.asked) == len(web.served)
    assert max(map(len, web.served)) == 8 * remote.BLOCK  # what is asked for at a time is held in memory


def test_a_file_is_read_anywhere(film: Path, web: Web) -> None:
    data = film.read_bytes()
    with open_bytes(f"{web.address}/film.mp4") as file:
        assert file.seek(0, os.SEEK_END) == len(data)
        for start, length in [(0, 10), (len(data) - 5, 10), (remote.BLOCK - 3, 7), (1_234_567, 400_000), (99, 3)]:
            file.seek(start)
            assert file.read(length) == data[start : start + length]


def test_a_server_without_parts(clip: Clip, web: Web, temporary: Path) -> None:
    path = clip(frames=60)  # its index is at the end, so it cannot be read as it comes
    web.ranges = False
    with resolve(f"{web.address}/clip.mp4") as resolved:
        assert Path(resolved.place).read_bytes() == path.read_bytes()
        info = probe(resolved)
    assert list(temporary.iterdir()) == []
    assert (info.path, info.times) == (f"{web.address}/clip.mp4", probe(path).times)
    assert [w for w in info.warnings if "gives no parts" in w and "0.0 MB" in w] == list(info.warnings)


def test_a_server_without_parts_that_breaks_off(clip: Clip, web: Web, temporary: Path) -> None:
    clip(frames=60)
    web.ranges, web.drop = False, 1000
    for web.reset in (False, True):
        with pytest.raises(VideoError, match="broke after 1000 of") as error:
            read(f"{web.address}/clip.mp4")
        assert one_line(error).endswith("try again")
    assert list(temporary.iterdir()) == []


def test_a_server_that_sends_chunks(clip: Clip, web: Web, temporary: Path) -> None:
    """Only the last chunk shows that a file of unknown size is complete."""
    path = clip(frames=60)
    web.ranges, web.chunked = False, True
    with resolve(f"{web.address}/clip.mp4") as resolved:
        assert Path(resolved.place).read_bytes() == path.read_bytes()
    web.drop = 2000
    with pytest.raises(VideoError, match=r"the connection broke after 20[0-9]{2} bytes; try again") as error:
        read(f"{web.address}/clip.mp4")
    one_line(error)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "asks for a password"),
        (403, "refuses to give the file (403 forbidden)"),
        (404, "no such file (404)"),
        (410, "no such file (410)"),
        (416, "is empty"),
        (429, "too many requests): try again later"),
        (500, "internal server error): try again later"),
        (503, "try again later"),
        (304, "not followed (304)"),
    ],
)
def test_what_a_server_answers(web: Web, status: int, words: str) -> None:
    web.status = status
    with pytest.raises(VideoError) as error:
        read(f"{web.address}/clip.mp4")
    assert words in one_line(error)
    assert one_line(error).startswith(f"{web.address}/clip.mp4")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:1/clip.mp4", "refuses connections"),
        ("http://nowhere.invalid/clip.mp4", "no such server"),
        ("http://", "not a valid address"),
        ("http://127.0.0.1:port/clip.mp4", "not a valid address"),
        ("http://[::1/clip.mp4", "not a valid address"),
        (f"http://{'x' * 300}.com/", "not a valid address"),
        ("ftp://127.0.0.1/clip.mp4", "ftp:// addresses are not read"),
        ("rtsp://127.0.0.1/clip", "rtsp:// addresses are not read"),
        ("s3://bucket/clip.mp4", "s3:// addresses are not read"),
        ("file:///clip.mp4", "without file://"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, words: str) -> None:
    with pytest.raises(VideoError) as error:
        read(address)
    assert words in one_line(error)


def test_a_page_is_not_a_video(web: Web, tmp_path: Path) -> None:
    (tmp_path / "watch").write_text("<!DOCTYPE html><title>a video</title>")
    web.headers["Content-Type"] = "text/html; charset=utf-8"
    with pytest.raises(VideoError, match="is a web page, not a video"):
        read(f"{web.address}/watch")
    web.headers["Content-Type"] = "video/mp4"
    with pytest.raises(VideoError, match="is not a video that can be read"):
        read(f"{web.address}/watch")


def test_an_empty_file_on_a_server(web: Web, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for web.ranges in (True, False):
        with pytest.raises(VideoError, match="is empty"):
            read(f"{web.address}/empty.mp4")


def test_a_server_that_is_none(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b"220 mail.example ESMTP\x1b[31m\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(VideoError, match="does not answer as a web server does") as error:
            read(f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4")
        one_line(error)


def test_redirects(clip: Clip, web: Web) -> None:
    clip()
    web.redirects["/latest"] = "/clip.mp4"
    web.redirects["/file"] = "file:///clip.mp4"
    web.redirects["/ftp"] = "ftp://127.0.0.1/clip.mp4"
    web.redirects["/round"] = "/round"
    info, _ = read(f"{web.address}/latest")
    assert (info.frames, info.path) == (50, f"{web.address}/latest")
    for path in ("file", "ftp", "round"):
        with pytest.raises(VideoError, match=r"sends on to") as error:
            read(f"{web.address}/{path}")
        one_line(error)


def test_an_expired_redirect_is_asked_for_again(film: Path, web: Web) -> None:
    shutil.copy(film, film.with_name("second.mp4"))
    web.redirects["/latest"] = "/film.mp4"
    with resolve(f"{web.address}/latest") as resolved, open_bytes(resolved) as file:
        film.rename(film.with_name("gone.mp4"))
        web.redirects["/latest"] = "/second.mp4"
        file.seek(1_000_000)
        assert file.read(10) == film.with_name("second.mp4").read_bytes()[1_000_000:1_000_010]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_that_breaks_is_made_again(film: Path, web: Web, chunked: bool) -> None:
    web.drop, web.chunked = 100_000, chunked
    _, frames = read(f"{web.address}/film.mp4", frames=4)
    assert np.array_equal(frames.pixels, read(film, frames=4)[1].pixels)


def test_a_connection_that_only_breaks(film: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "sleep", lambda seconds: None)
    with resolve(f"{web.address}/film.mp4") as resolved:
        web.broken = 3
        assert probe(resolved).frames == 400
    with resolve(f"{web.address}/film.mp4") as resolved:
        web.drop = 0
        with pytest.raises(VideoError, match="breaks again and again") as error:
            probe(resolved)
    one_line(error)
    assert len(web.asked) < 30


def test_a_server_that_keeps_quiet(clip: Clip, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    clip()
    web.quiet = 5.0
    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    with pytest.raises(VideoError, match="does not answer within"):
        read(f"{web.address}/clip.mp4")


def test_a_server_that_drips(clip: Clip, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    clip()
    web.drip = 0.01
    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    for web.ranges in (True, False):
        with pytest.raises(VideoError, match="less than 1000 bytes a second"):
            read(f"{web.address}/clip.mp4")


def test_a_stream_without_an_end(clip: Clip, web: Web, temporary: Path) -> None:
    clip(frames=200)
    web.ranges, web.drip = False, 0.0005
    with (
        pytest.raises(VideoError, match=r"took longer than 0\.2 s to download; --read-timeout"),
        resolve(f"{web.address}/clip.mp4", limit=0.2),
    ):
        pass
    assert list(temporary.iterdir()) == []


def test_a_file_that_changes_while_it_is_read(film: Path, web: Web) -> None:
    with resolve(f"{web.address}/film.mp4") as resolved:
        film.write_bytes(film.read_bytes() + b"more")
        with pytest.raises(VideoError, match="changed on the server"):
            probe(resolved)


def test_secrets_are_neither_shown_nor_kept(clip: Clip, web: Web) -> None:
    clip()
    web.login = "me:p@ss w\u00f6rd"
    address = web.address.replace("://", "://me:p%40ss%20w%C3%B6rd@") + "/clip.mp4?id=7&X-Signature=abc#t=1"
    info, _ = read(address)
    assert info.path == f"{web.address}/clip.mp4?id=7&X-Signature=…"
    assert info.as_json()["path"] == info.path
    assert "w%C3" not in repr(info)
    assert web.asked[-1].endswith("?id=7&X-Signature=abc")
    web.login = "me:another"
    with pytest.raises(VideoError, match="refuses this user and password") as error:
        read(address)
    assert "w%C3" not in str(error.value)
    with pytest.raises(VideoError) as error:
        read("http://me:w%C3@127.0.0.1:1/clip.mp4")
    assert "w%C3" not in str(error.value)


def test_a_password_goes_to_its_own_server_only(film: Path, web: Web, tmp_path: Path) -> None:
    with serve(tmp_path) as other:
        web.redirects["/away"] = f"{other.address}/film.mp4"
        web.redirects["/here"] = "/film.mp4"
        secret = web.address.replace("://", "://me:secret@")
        read(f"{secret}/away")
        assert len(other.authorizations) > 2
        assert set(other.authorizations) == {None}
        read(f"{secret}/here")
        assert None not in web.authorizations


def test_names_are_sent_as_they_must_be(clip: Clip, web: Web) -> None:
    clip("名前 with space & 'quote'.mp4")
    info, _ = read(f"{web.address}/名前 with space & 'quote'.mp4")
    assert info.frames == 50
    info, _ = read(f"{web.address.upper()}/%E5%90%8D%E5%89%8D with space & 'quote'.mp4")
    assert info.frames == 50
    with pytest.raises(VideoError) as error:
        read(f"{web.address}/red\x1b[31m\nline.mp4")
    one_line(error)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_file_on_a_server_names_no_others(clip: Clip, web: Web, tmp_path: Path, name: str) -> None:
    target = clip("target.mkv")
    for head in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{web.address}/target.mkv\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{web.address}/target.mkv'\n",
        f"ffconcat version 1.0\nfile 'file:{target}'\n",
    ):
        (tmp_path / name).write_text(head)
        with pytest.raises(VideoError, match="is not a video"):
            read(f"{web.address}/{name}")
    assert {Path(path).name for path in web.asked} == {name}


def test_certificates_are_verified(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make a certificate with")
    pem = tmp_path / "both.pem"
    arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run([program, *arguments.split(), *more], check=True, capture_output=True)
    pem.write_text((tmp_path / "key").read_text() + (tmp_path / "cert").read_text())
    clip()
    with serve(tmp_path, pem) as web:
        with pytest.raises(VideoError, match="certificate is not to be trusted: self-signed") as error:
            read(f"{web.address}/clip.mp4")
        one_line(error)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        assert read(f"{web.address}/clip.mp4")[0].frames == 50
        web.redirects["/plain"] = "http://127.0.0.1:1/clip.mp4"
        with pytest.raises(VideoError, match="from https to http"):
            read(f"{web.address}/plain")


# Standard input ------------------------------------------------------------------------------------------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Makes `data` what comes through standard input."""
    into, out = os.pipe()

    def write() -> None:
        with os.fdopen(out, "wb") as pipe:
            pipe.write(data)

    Thread(target=write, daemon=True).start()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(into, "rb")))


def test_standard_input(clip: Clip, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip()
    stand_in(monkeypatch, path.read_bytes())
    info, frames = read("-")
    there, expected = read(path)
    assert (info.path, info.times, info.warnings) == ("-", there.times, ())
    assert np.array_equal(frames.pixels, expected.pixels)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "standard input is empty"), (b"words " * 99, "standard input is not")]
)
def test_no_video_in_standard_input(temporary: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, words: str) -> None:
    stand_in(monkeypatch, data)
    with pytest.raises(VideoError, match=words):
        read("-")
    assert list(temporary.iterdir()) == []


def test_standard_input_that_cannot_be_read(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    with pytest.raises(VideoError) as error:
        read("-")
    assert one_line(error) == "standard input cannot be read: input/output error"
    assert list(temporary.iterdir()) == []


def test_a_terminal_as_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb"), os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(UsageError, match="is a terminal"):
            read("-")


def test_what_is_copied_goes_whatever_happens(clip: Clip, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_NAMELESS", False)
    data = clip().read_bytes()
    for error in (KeyboardInterrupt, VideoError, SystemExit):
        stand_in(monkeypatch, data)
        with pytest.raises(error), resolve("-"):
            assert len(list(temporary.iterdir())) == 1
            raise error
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("nameless", [False, True])
def test_no_copy_outlives_the_process(
    clip: Clip, temporary: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    """Other threads may be writing copies, and may be about to begin one, when the process ends."""
    monkeypatch.setattr(source, "_NAMELESS", nameless and source._NAMELESS)
    monkeypatch.setattr(source, "_ending", False)
    data = clip().read_bytes()
    begun, ended = Event(), Event()
    errors: list[Exception] = []

    def chunks() -> Iterator[bytes]:
        yield data
        begun.set()
        ended.wait(30)
        yield data

    def copy() -> None:
        try:
            with source._copied(chunks(), "it"):
                pass
            with source._copied([data], "it"):
                pass
        except Exception as error:
            errors.append(error)

    thread = Thread(target=copy)
    thread.start()
    assert begun.wait(30)
    source.remove_copies()
    assert list(temporary.iterdir()) == []
    ended.set()
    thread.join(30)
    assert list(temporary.iterdir()) == []
    assert len(errors) == (0 if nameless and source._NAMELESS else 1)
    monkeypatch.setattr(source, "_NAMELESS", False)
    with pytest.raises(VideoError, match="the process is ending"), source._copied([data], "it"):
        pass
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_what_is_copied_goes_when_the_process_is_ended(clip: Clip, temporary: Path, number: int) -> None:
    program = (
        "from vtcli.video import source\nimport signal, time\nsource._NAMELESS = False\n"
        # Under nohup or in the background the tests inherit signals that are ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with source.resolve('-') as video:\n print(video.name, flush=True)\n time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    with (
        clip().open("rb") as data,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        ) as process,
    ):  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"-\n"
        assert len(list(temporary.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(30) != 0
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="files have names there")
def test_what_is_copied_has_no_name(clip: Clip, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it goes even where the process is killed; another process can read it all the same."""
    path = clip()
    stand_in(monkeypatch, path.read_bytes())
    with resolve("-") as video, Guard() as guard:
        assert list(temporary.iterdir()) == []
        assert guard.probe(video).times == probe(path).times
        assert Path(video.place).read_bytes() == path.read_bytes()
    assert not Path(video.place).exists()


def test_too_much_for_a_copy(clip: Clip, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SPOOL_LIMIT", 1000)
    stand_in(monkeypatch, clip().read_bytes())
    with pytest.raises(VideoError, match="standard input is larger than"):
        read("-")
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
def test_no_room_for_a_copy(clip: Clip, temporary: Path) -> None:
    program = (
        "import resource; from vtcli.video.source import resolve\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with resolve('-'): pass"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    with clip().open("rb") as data:
        done = subprocess.run(
            [sys.executable, "-c", program], stdin=data, env=environment, capture_output=True, encoding="utf-8"
        )
    assert f"VideoError: standard input cannot be copied to {temporary}: file too large; set TMPDIR" in done.stderr
    assert list(temporary.iterdir()) == []


# Folders of pictures -------------------------------------------------------------------------------------------------


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (160, 96)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(number, *size)).save(folder / name)
    return folder


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", [f"frame{i}.png" for i in range(50)])
    for name in (".hidden.png", "notes.txt"):
        (folder / name).write_text("not a picture")
    info, frames = read(folder, fps=5)
    assert (info.frames, info.fps, info.width, info.height, info.codec) == (50, 5.0, 160, 96, "png")
    assert info.times == tuple(i / 5 for i in range(50))
    assert (info.duration, info.warnings, info.path) == (10.0, (), str(folder))
    assert [number_of(pixels) for pixels in frames.pixels] == list(frames.indices)
    assert frames.indices == plan_frames(info, FrameRequest(frames=16)).indices
    assert frames.times == tuple(i / 5 for i in frames.indices)
    assert (frames.reader, frames.warnings) == ("pillow", ())
    _, fewer = read(str(folder), fps=5, frames=4)
    assert [number_of(pixels) for pixels in fewer.pixels] == [0, 16, 33, 49]


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "bmp", "tif", "tiff"])
def test_kinds_of_pictures(tmp_path: Path, suffix: str) -> None:
    folder = write_pictures(tmp_path / "shots", [f"{i:03}.{suffix}" for i in range(4)])
    _, frames = read(folder, fps=1)
    assert [number_of(pixels) for pixels in frames.pixels] == [0, 1, 2, 3]


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["clip2_9.png", "clip2_10.png", "clip2_11.png", "clip10_12.png"]
    info, frames = read(write_pictures(tmp_path / "shots", names), fps=1)
    assert [number_of(pixels) for pixels in frames.pixels] == [0, 1, 2, 3]
    assert info.warnings == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.png", "2.png", "3.png", "7.png"], "uneven (7.png follows 3.png)"),
        (["1.png", "2.jpg", "2.png", "3.png"], "uneven (2.png follows 2.jpg)"),
        (["a1.png", "a2.png", "b1.png", "b2.png"], "uneven (b1.png follows a2.png)"),
        (["1.png", "2.png", "cover.png"], "cover.png has no number"),
    ],
)
def test_numbers_that_do_not_count_evenly(tmp_path: Path, names: list[str], words: str) -> None:
    info, _ = read(write_pictures(tmp_path / "shots", names), fps=2)
    assert len(info.warnings) == 1
    assert words in info.warnings[0]


def test_even_steps_of_any_size(tmp_path: Path) -> None:
    info, _ = read(write_pictures(tmp_path / "shots", ["0.png", "30.png", "60.png", "90.png"]), fps=1)
    assert info.warnings == ()


def test_a_rate_must_be_stated(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", ["1.png", "2.png"])
    with pytest.raises(UsageError, match="is a folder of 2 pictures: say how many a second they are, as --fps"):
        read(folder)
    with pytest.raises(UsageError, match="--fps"):
        probe(folder)
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--fps must be above 0"):
            read(folder, fps=fps)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder, not a video"):
        read(tmp_path, fps=2)
    (tmp_path / "7.png").mkdir()
    with pytest.raises(VideoError, match="is a folder, not a video"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_are_turned_as_exif_says(tmp_path: Path, suffix: str) -> None:
    names = [f"1.{suffix}", f"2.{suffix}"]
    upright = write_pictures(tmp_path / "upright", names, (84, 168))
    turned = tmp_path / "turned"
    turned.mkdir()
    for orientation, back in [
        (2, Image.Transpose.FLIP_LEFT_RIGHT), (3, Image.Transpose.ROTATE_180), (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE), (6, Image.Transpose.ROTATE_90), (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ]:  # fmt: skip
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in names:
            Image.open(upright / name).transpose(back).save(turned / name, exif=exif)
        info, frames = read(turned, fps=1)
        assert (info.width, info.height) == (84, 168)
        assert np.array_equal(frames.pixels, read(upright, fps=1)[1].pixels), orientation
        assert frames.warnings == ()


def test_a_tiff_whose_orientation_is_in_its_xmp(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    for name in ("1.tif", "2.tif"):
        Image.fromarray(picture(90, 84, 168)).rotate(90, expand=True).save(tmp_path / name, tiffinfo={700: xmp})
    info, frames = read(tmp_path, fps=1)
    assert (info.width, info.height, frames.warnings) == (84, 168, ())
    assert [number_of(pixels) for pixels in frames.pixels] == [90, 90]


def test_sizes_that_differ(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", [f"{i}.png" for i in range(4)])
    Image.fromarray(picture(2, 500, 500)).save(folder / "2.png")
    info, frames = read(folder, fps=1)
    assert (info.width, info.height) == (160, 96)
    assert [number_of(pixels) for pixels in frames.pixels] == [0, 1, 2, 3]
    assert frames.warnings == ("1 picture is not 160×96 as the first and stretched to its shape",)


def png_of(width: int, height: int) -> bytes:
    """A PNG file that announces a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_broken_pictures_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "shots", [f"{i:02}.jpg" for i in range(40)])
    whole = (folder / "05.jpg").read_bytes()
    (folder / "00.jpg").write_bytes(b"not a picture")
    (folder / "05.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "08.jpg").write_bytes(png_of(50_000, 50_000))
    Image.new("1", (10_000, 10_000)).save(folder / "39.jpg", "PNG")  # whole, but Pillow would warn of it
    (folder / "13.jpg").write_bytes(b"")
    info, frames = read(folder, fps=4)
    assert info.frames == 40
    assert [round(time * 4) for time in frames.times] == [number_of(pixels) for pixels in frames.pixels]
    assert {0, 5, 8, 13, 39}.isdisjoint(number_of(pixels) for pixels in frames.pixels)
    assert len(frames.pixels) == 16
    (warning,) = frames.warnings
    assert warning.startswith("pictures that cannot be read are left out: 00.jpg: not a picture and ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"junk", png_of(50_000, 50_000), png_of(100, 100)])
def test_no_picture_can_be_read(tmp_path: Path, data: bytes) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(VideoError, match=r"holds no picture that can be read \(1.png: ") as error:
        read(tmp_path, fps=1)
    one_line(error)


def test_thousands_of_pictures(tmp_path: Path) -> None:
    """Only the planned ones are opened: the others are not even pictures."""
    folder = write_pictures(tmp_path / "shots", ["0.png", "2999.png"])
    for number in range(1, 2999):
        (folder / f"{number}.png").touch()
    info, frames = read(folder, fps=25, frames=2)
    assert (info.frames, info.duration) == (3000, 120.0)
    assert frames.warnings == ()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", ["1.png", "2.png"])
    (folder / "3.png").symlink_to("2.png")
    assert read(folder, fps=1)[0].frames == 3
    outside = tmp_path / "outside.png"
    shutil.copy(folder / "1.png", outside)
    for target in (outside, Path("../outside.png"), Path("/etc/passwd"), Path("../gone.png")):
        (folder / "4.png").symlink_to(target)
        with pytest.raises(VideoError, match=r"4\.png is a link out of the folder"):
            read(folder, fps=1)
        (folder / "4.png").unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such thing there")
def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", ["1.png", "2.png"])
    os.mkfifo(folder / "0.png")
    os.mkfifo(folder / "pipe")
    (folder / "3.png").symlink_to("pipe")
    _, frames = read(folder, fps=1)
    assert frames.warnings == ("pictures that cannot be read are left out: 3.png: not a regular file",)


def test_depth_and_alpha(tmp_path: Path) -> None:
    """16 bits keep their upper eight; what is transparent lets white through, as qwen-vl-utils has it."""
    deep = np.full((40, 40), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "1.png")
    clear = np.zeros((40, 40, 4), np.uint8)
    clear[..., 0], clear[..., 3] = 200, 128
    Image.fromarray(clear).save(tmp_path / "2.png")
    palette = Image.new("P", (40, 40))
    palette.save(tmp_path / "3.png", transparency=0)
    Image.new("CMYK", (40, 40)).save(tmp_path / "4.tif")
    _, frames = read(tmp_path, fps=1)
    colours = frames.pixels[:, 50, 50].tolist()
    assert colours == [[127, 127, 127], [227, 127, 127], [255, 255, 255], [255, 255, 255]]


def test_other_readers_read_no_pictures(tmp_path: Path) -> None:
    info, _ = read(write_pictures(tmp_path, ["1.png", "2.png"]), fps=1)
    with pytest.raises(VtError, match="--reader pyav reads no pictures"):
        read_frames(info, plan_frames(info, FrameRequest()), FrameRequest(), "pyav")


def test_a_folder_that_changes(tmp_path: Path) -> None:
    info, frames = read(write_pictures(tmp_path, ["1.png", "2.png"]), fps=1)
    (tmp_path / "2.png").unlink()
    with pytest.raises(VideoError, match="changed while it was read"):
        read_frames(info, frames.plan, FrameRequest())


# Streams -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_streams(tmp_path: Path) -> Path:
    """A small stream, then a large one, each with its own number in its frames."""
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in [(96, 64), (192, 128)]:
            stream = container.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for number, stream in enumerate(streams):
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(picture(number + 1, stream.width, stream.height), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 5)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def test_the_stream_asked_for(two_streams: Path) -> None:
    assert read(two_streams)[0].stream in (0, 1)  # FFmpeg's choice
    for number, size in [(0, (96, 64)), (1, (192, 128))]:
        info, frames = read(two_streams, stream=number)
        assert (info.stream, info.width, info.height) == (number, *size)
        assert {number_of(pixels) for pixels in frames.pixels} == {number + 1}
    for number in (-1, 2):
        with pytest.raises(UsageError, match=f"--stream {number}: .* has no such video stream, only 0, 1"):
            read(two_streams, stream=number)


def test_pictures_have_no_streams(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "shots", ["1.png", "2.png"])
    with pytest.raises(UsageError, match="--stream 0"):
        read(folder, fps=1, stream=0)


def test_a_drive_is_no_kind_of_address() -> None:
    assert source.source_of("C://clips/a.mp4").kind == "file"


def test_sources_are_plain_data(tmp_path: Path) -> None:
    with resolve(tmp_path / "clip.mp4", stream=3) as resolved:
        assert pickle.loads(pickle.dumps(resolved)) == resolved == Source(
            str(tmp_path / "clip.mp4"), str(tmp_path / "clip.mp4"), stream=3
        )  # fmt: skip
    assert source_of(resolved) is resolved
    with pytest.raises(VideoError, match="no such file"), open_video("-"):
        pass


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_takes_them_all(clip: Clip, web: Web, temporary: Path, tmp_path: Path) -> None:
    path = clip()
    folder = write_pictures(tmp_path / "shots", ["1.png", "2.png"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}

    def vt(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        with path.open("rb") as data:
            command = [sys.executable, "-m", "vtcli", *map(str, arguments)]
            return subprocess.run(command, stdin=data, env=environment, capture_output=True, encoding="utf-8")

    for video, frames, more in [("-", 50, ()), (f"{web.address}/clip.mp4", 50, ()), (folder, 2, ("--fps", "2"))]:
        done = vt("probe", video, "--json", *more)
        assert (done.returncode, done.stderr) == (0, "")
        record = json.loads(done.stdout)
        assert (record["path"], record["frames"]) == (str(video), frames)
    for arguments, code in [
        (("probe", folder), 2),
        (("probe", "-", "--stream", "7"), 2),
        (("probe", f"{web.address}/gone.mp4"), 1),
        (("frames", "ftp://127.0.0.1/clip.mp4", "-o", tmp_path / "out"), 1),
        (("ask", f"{web.address}/clip.mp4", "why?", "--offline"), 2),
    ]:
        done = vt(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert done.stderr.startswith("vt: error: ")
        assert done.stderr.count("\n") == 1
    assert list(temporary.iterdir()) == []
