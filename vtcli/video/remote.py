"""Reads a file on a web server in parts: only what is needed is fetched.

FFmpeg can do this too, but then every opening fetches the file's index again, certificates depend on how FFmpeg was
built, and a server's replies (a page, a password prompt, a redirect to a local file) end as "invalid data". Here the
standard library makes the requests, all openings of one address share the fetched data, and FFmpeg has no network.
"""

from __future__ import annotations

import base64
import http.client
import io
import os
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from vtcli import __version__
from vtcli.errors import VideoError
from vtcli.video.pulse import beat
from vtcli.video.text import shown

T = TypeVar("T")

BLOCK = 2**16  # bytes: fetched ranges start and end at multiples of it
FIRST_RUN = 4  # blocks fetched at a new position; doubled while reading continues from there
LONGEST_RUN = 64
KEPT = 512  # blocks kept per address
TIMEOUT = 20.0  # seconds for a server to answer, and then without a byte
SLOWEST = 1000  # bytes per second, once TIMEOUT has passed
_RETRIES = 3  # after a broken connection
_ADDRESSES = 2  # number of addresses whose blocks are kept
_SECRET = re.compile("token|sig|key|auth|pass|secret|cred|jwt|session|policy", re.IGNORECASE)

Response = http.client.HTTPResponse


class _BeyondEndError(Exception):
    """The server says that the file ends before the start of the requested range (416)."""


def without_secrets(url: str) -> str:
    """Returns `url` for messages and records: without user, password and values that look like keys."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    # Text edits, not parsing and re-encoding: the rest is shown exactly as given.
    query = "&".join(
        f"{name}{equals}…" if equals and _SECRET.search(name) else f"{name}{equals}{value}"
        for name, equals, value in (pair.partition("=") for pair in parts.query.split("&"))
    )
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment=""))


class Remote:
    """One file on a server. Threads may share it.

    gives_parts: whether the server supports range requests; if not, only `whole` works. size: bytes, if it does.
    Raises VideoError, in one line, for anything that prevents reading the file.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(without_secrets(url))
        self._original, self._authorization = self._address(url)
        self._url = self._original
        self._opener = _opener(self.name)
        self._state = threading.Condition()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetching: set[int] = set()
        self._runs: OrderedDict[int, int] = OrderedDict()  # last block of a run → its length
        self._changed_at: str | None = None
        self.size = 0
        self.gives_parts = True
        self._begin()

    def read(self, start: int, length: int) -> bytes:
        """Returns at most `length` bytes from `start` on, fewer where a block ends, none at the end of the file."""
        if start >= self.size:
            return b""
        offset = start % BLOCK
        return self._block(start // BLOCK)[offset : offset + length]

    def whole(self) -> Iterator[bytes]:
        """Yields the whole file in chunks, from one request."""
        with self._ask(None) as response:
            self._check_kind(response)
            announced = response.headers.get("Content-Length", "")
            size = 0
            try:
                for chunk in self._body(response):
                    size += len(chunk)
                    yield chunk
            except OSError:
                raise self._broken(size, announced) from None
        if announced.isdecimal() and size < int(announced):
            raise self._broken(size, announced)

    def _broken(self, size: int, announced: str) -> VideoError:
        received = f"{size} of {announced}" if announced.isdecimal() else str(size)
        return VideoError(f"{self.name}: the connection broke after {received} bytes; try again")

    def _begin(self) -> None:
        """Requests the first blocks, which shows whether the server supports ranges, and the file's size and kind."""
        last = FIRST_RUN * BLOCK - 1
        try:
            response = self._ask((0, last))
        except _BeyondEndError:
            raise VideoError(f"{self.name} is empty") from None
        with response:
            self._url = response.url
            self._check_kind(response)
            first, self.size = _content_range(response)
            if response.status != 206 or first != 0 or self.size <= 0:
                self.gives_parts = False
                return
            self._changed_at = response.headers.get("Last-Modified")
            try:
                data = b"".join(self._body(response, min(last + 1, self.size)))
            except OSError:
                data = b""
        if len(data) == min(last + 1, self.size):  # otherwise they are fetched when needed
            self._keep(0, data)

    def _check_kind(self, response: Response) -> None:
        kind = response.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise VideoError(f"{self.name} is a web page, not a video: give the address of the video file itself")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise VideoError(f"{self.name}: the server packs the file although it was asked not to; download it first")

    def _block(self, number: int) -> bytes:
        with self._state:
            while number not in self._blocks:
                if number not in self._fetching:
                    run = self._next_run(number)
                    self._fetching.update(run)
                    break
                self._state.wait()
            else:
                self._blocks.move_to_end(number)
                return self._blocks[number]
        try:
            data = self._fetch(run.start * BLOCK, min(run.stop * BLOCK, self.size))
        finally:
            with self._state:
                self._fetching.difference_update(run)
                self._state.notify_all()
        self._keep(run.start, data)
        return data[:BLOCK]

    def _next_run(self, number: int) -> range:
        """Returns the blocks to fetch when `number` is needed: the longer the sequential read up to it, the more."""
        length = min(2 * self._runs.get(number - 1, FIRST_RUN // 2), LONGEST_RUN)
        end = min(number + length, -(-self.size // BLOCK))
        known = (b for b in range(number + 1, end) if b in self._blocks or b in self._fetching)
        return range(number, next(known, end))

    def _keep(self, first: int, data: bytes) -> None:
        count = -(-len(data) // BLOCK)
        with self._state:
            for i in range(count):
                self._blocks[first + i] = data[i * BLOCK : (i + 1) * BLOCK]
            while len(self._blocks) > KEPT:
                self._blocks.popitem(last=False)
            self._runs[first + count - 1] = count
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)
            self._state.notify_all()

    def _fetch(self, start: int, end: int) -> bytes:
        """Returns the bytes from `start` up to `end`; a broken connection is resumed where it broke."""
        data = bytearray()
        failures = 0
        while len(data) < end - start:
            before = len(data)
            try:
                with self._ask((start + len(data), end - 1)) as response:
                    self._check_part(response, start + len(data))
                    for chunk in self._body(response, end - start - len(data)):
                        data += chunk
            except _BeyondEndError:
                raise VideoError(f"{self.name} changed on the server while it was read; try again") from None
            except OSError:
                pass  # for example, the server stopped sending
            failures = 0 if len(data) > before else failures + 1
            if failures > _RETRIES:
                raise VideoError(f"{self.name}: the connection breaks again and again; download the file first")
            if len(data) < end - start:
                sleep(0.1 * 2**failures)
        return bytes(data)

    def _check_part(self, response: Response, start: int) -> None:
        first, size = _content_range(response)
        if response.status != 206 or first != start:
            raise VideoError(f"{self.name}: the server stopped giving parts of the file; download it first")
        if (size, response.headers.get("Last-Modified")) != (self.size, self._changed_at):
            raise VideoError(f"{self.name} changed on the server while it was read; try again")

    def _body(self, response: Response, most: int | None = None) -> Iterator[bytes]:
        """Yields what the server sends, at most `most` bytes.

        Raises OSError where the connection breaks. Only a reply in chunks shows that it is incomplete; for others the
        caller compares sizes.
        """
        begin, size = monotonic(), 0
        while most is None or size < most:
            try:
                chunk = response.read1(2**20 if most is None else min(2**20, most - size))
            except http.client.HTTPException as error:
                raise ConnectionError(str(error)) from None
            except TimeoutError:
                raise VideoError(f"{self.name}: the server sent nothing for {TIMEOUT:.0f} s; try again") from None
            if not chunk:
                return
            beat()
            size += len(chunk)
            waited = monotonic() - begin
            if waited > TIMEOUT and size < SLOWEST * waited:
                raise VideoError(f"{self.name}: the server sends less than {SLOWEST} bytes a second; download it first")
            yield chunk

    def _ask(self, part: tuple[int, int] | None) -> Response:
        """Returns the server's reply to a request for bytes part[0] to part[1], inclusive, or for the whole file."""
        try:
            return _within(TIMEOUT, lambda: self._open(part))
        except urllib.error.HTTPError as error:
            with error:
                code = error.code
            if code == 416 and part is not None:
                raise _BeyondEndError from None
            if self._url != self._original and code in (401, 403, 404, 410):
                self._url = self._original  # the redirect's target has expired
                return self._ask(part)
            raise VideoError(f"{self.name}: {_answered(code, self._authorization is not None)}") from None
        except urllib.error.URLError as error:
            raise VideoError(f"{self.name}: {_unreachable(error.reason)}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise VideoError(f"{self.name}: {_unreachable(error)}") from None

    def _open(self, part: tuple[int, int] | None) -> Response:
        request = urllib.request.Request(self._url, headers={"User-Agent": f"vtcli/{__version__}"})
        request.add_header("Accept-Encoding", "identity")
        if part is not None:
            request.add_header("Range", f"bytes={part[0]}-{part[1]}")
        if self._authorization and _origin(self._url) == _origin(self._original):
            request.add_unredirected_header("Authorization", self._authorization)
        response: Response = self._opener.open(request, timeout=TIMEOUT)
        return response

    def _address(self, url: str) -> tuple[str, str | None]:
        """Returns `url` as sent (ASCII, without user and password) and the Authorization header made from these."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            if not host:
                raise ValueError
            netloc = f"[{host}]" if ":" in host else host.encode("idna").decode()
        except ValueError:  # UnicodeError is a ValueError
            raise VideoError(f"{self.name} is not a valid address") from None
        sent = urlunsplit(
            SplitResult(
                parts.scheme.lower(),
                netloc if port is None else f"{netloc}:{port}",
                quote(parts.path or "/", safe="/%!$&'()*+,;=:@~"),
                quote(parts.query, safe="/%!$&'()*+,;=:@~?"),
                "",
            )
        )
        if parts.username is None:
            return sent, None
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return sent, f"Basic {base64.b64encode(pair.encode()).decode()}"


class RemoteFile(io.RawIOBase):
    """A `Remote` as a file that is open for reading.

    An error is raised once; from then on the file is at its end. PyAV passes the error on, but would write a second
    one, from FFmpeg's cleanup, to stderr.
    """

    def __init__(self, server: Remote) -> None:
        self.name = os.path.basename(urlsplit(server.name).path) or "video"  # FFmpeg looks at the suffix
        self._server = server
        self._position = 0
        self._failed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._server.size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._failed:
            return 0
        try:
            data = self._server.read(self._position, len(buffer))
        except BaseException:
            self._failed = True
            raise
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


_remotes: OrderedDict[str, Remote] = OrderedDict()
_lock = threading.Lock()


def remote(url: str) -> Remote:
    """Returns the file at `url`, the same object each time, so that fetched data is not fetched again."""
    with _lock:
        if url in _remotes:
            _remotes.move_to_end(url)
            return _remotes[url]
    opened = Remote(url)
    with _lock:
        _remotes[url] = opened
        while len(_remotes) > _ADDRESSES:
            _remotes.popitem(last=False)
    return opened


def forget(url: str) -> None:
    """Frees the data kept for the file at `url`."""
    with _lock:
        _remotes.pop(url, None)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) addresses, but never from https to http."""

    def __init__(self, name: str) -> None:
        self._name = name

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https"):
            raise VideoError(f"{self._name}: the server sends on to an address that is not http(s)")
        if (req.type, scheme) == ("https", "http"):
            raise VideoError(f"{self._name}: the server sends on from https to http, which anybody can read along")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if new is not None and authorization and _origin(newurl) == _origin(req.full_url):
            new.add_unredirected_header("Authorization", authorization)
        return new


def _opener(name: str) -> urllib.request.OpenerDirector:
    """Returns an opener for web servers only: `build_opener` would add file: and ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),  # honours HTTPS_PROXY and similar variables
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(name),
    ):
        opener.add_handler(handler)
    return opener


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _content_range(response: Response) -> tuple[int, int]:
    """Returns the first byte and the whole file's size from `bytes 0-99/1234`; -1 and 0 for anything else."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", response.headers.get("Content-Range", "").strip())
    return (int(match[1]), int(match[2])) if match else (-1, 0)


def _answered(code: int, password_given: bool) -> str:
    """Returns what a status code means for the user. The server's own text is ignored."""
    if code in (401, 407):
        if password_given:
            return f"the server refuses this user and password ({code})"
        return f"the server asks for a password ({code}): write the address as https://user:password@…"
    if code in (404, 410):
        return f"the server has no such file ({code})"
    if 300 <= code < 400:
        return f"the server sends on to where it is not followed ({code})"
    reason = http.client.responses.get(code, "no standard code").lower()
    if code >= 500 or code == 429:
        return f"the server cannot give the file now ({code} {reason}): try again later"
    return f"the server refuses to give the file ({code} {reason})"


def _unreachable(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the server's certificate is not to be trusted: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return f"the server does not answer within {TIMEOUT:.0f} s"
    if isinstance(reason, socket.gaierror):
        return "there is no such server, or no network"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refuses connections"
    if isinstance(reason, (http.client.HTTPException, ValueError)):
        return "the server does not answer as a web server does"
    return f"the server cannot be reached: {(getattr(reason, 'strerror', None) or 'no connection').lower()}"


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Runs `work`; raises TimeoutError if it takes too long: name lookups and slow headers have no time limit."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]
