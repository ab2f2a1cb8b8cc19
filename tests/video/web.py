"""A web server on the loopback, as well or as badly behaved as a test asks, that notes what it served."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Web:
    """How the server behaves, and what it was asked for.

    ranges: whether it gives parts. status: instead of the file. login: "user:password" that it wants. redirects: path
    → address it sends on to. drop: bytes of each reply after which the connection breaks. reset: whether it then breaks
    with an error instead of an end. chunked: whether replies come in chunks, without a size. broken: replies, from now
    on, that break at once. drip: seconds between single bytes. quiet: seconds before it answers. headers: of every
    reply with a file.
    """

    folder: Path
    address: str = ""
    ranges: bool = True
    status: int = 200
    login: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    drop: int | None = None
    reset: bool = False
    chunked: bool = False
    broken: int = 0
    drip: float = 0.0
    quiet: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    served: list[range] = field(default_factory=list)

    @property
    def bytes_served(self) -> int:
        return sum(map(len, self.served))


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        web, path = self.web, unquote(urlsplit(self.path).path)
        web.asked.append(self.path)
        web.authorizations.append(self.headers.get("Authorization"))
        time.sleep(web.quiet)
        if path in web.redirects:
            self._head(302, {"Location": web.redirects[path]})
        elif web.login and self.headers.get("Authorization") != f"Basic {b64encode(web.login.encode()).decode()}":
            self._head(401, {"WWW-Authenticate": "Basic"})
        elif web.status != 200:
            self._head(web.status, {})
        elif not (file := web.folder / path.lstrip("/")).is_file():
            self._head(404, {})
        else:
            self._file(file.read_bytes())

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, data: bytes) -> None:
        web, part = self.web, range(len(data))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and web.ranges:
            part = range(int(asked[1]), min(int(asked[2]) + 1, len(data)))
            if not part:
                return self._head(416, {"Content-Range": f"bytes */{len(data)}"})
        size = {"Transfer-Encoding": "chunked"} if web.chunked else {"Content-Length": str(len(part))}
        headers = {"Content-Type": "video/mp4"} | size | web.headers
        if asked and web.ranges:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
        self._head(206 if asked and web.ranges else 200, headers)
        whole, part = part, part[: 0 if web.broken else web.drop]
        web.broken = max(0, web.broken - 1)
        web.served.append(part)
        try:
            if web.drip:
                for at in part:
                    self.wfile.write(data[at : at + 1])
                    time.sleep(web.drip)
            elif web.chunked:
                self._chunks(data[part.start : part.stop], complete=part == whole)
            else:
                self.wfile.write(data[part.start : part.stop])
        except OSError:
            pass  # the client has gone
        if web.reset:
            time.sleep(0.2)  # so that the client has read what was sent
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def _chunks(self, data: bytes, complete: bool) -> None:
        """Sends `data` in chunks of 1000 bytes; the last one breaks off halfway unless the reply is `complete`."""
        for start in range(0, len(data), 1000):
            chunk = data[start : start + 1000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n" if complete else b"3e8\r\nhalf of it")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serve(folder: Path, certificate: Path | None = None) -> Iterator[Web]:
    """A running server of the files in `folder`; by https with `certificate`, a PEM file that holds its key too."""
    web = Web(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    server.daemon_threads = True
    server.handle_error = lambda request, client: None  # type: ignore[method-assign,assignment]
    web.address = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
