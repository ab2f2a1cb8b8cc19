"""Links to a time in a video, for terminals that open OSC 8 hyperlinks.

Players have no standard URL with a seek time, and `#t=` works only where a browser opens the file. The user can
therefore change the template (VT_LINK), e.g. to `mpv://{path}?t={seconds}`; an empty template turns links off.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

DEFAULT_TEMPLATE = "{url}#t={seconds}"
_FIELD = re.compile(r"\{(path|url|seconds|host)\}")
_PRINTABLE = "".join(map(chr, range(33, 127)))


def time_link(path: str | Path, seconds: float, template: str | None = None) -> str | None:
    """Returns the link to `seconds` (from the file's first frame) in the file at `path`; None if links are off.

    `template` (else VT_LINK, else `file://HOST/PATH#t=SECONDS`) may hold {url} (file://HOST/PATH), {path}
    (absolute), {seconds} and {host}, all percent-encoded; other text stays as it is.
    """
    if template is None:
        template = os.environ.get("VT_LINK", DEFAULT_TEMPLATE)
    if not template.strip():
        return None
    uri = urlsplit(Path(path).absolute().as_uri())
    # Terminals check the host, since the text may come from another machine. Windows reads it as a network share.
    host = uri.netloc or ("" if os.name == "nt" else quote(socket.gethostname()))
    values = {
        "path": uri.path,
        "url": f"file://{host}{uri.path}",
        "seconds": f"{max(seconds, 0.0):.3f}".rstrip("0").rstrip("."),
        "host": host,
    }
    # Quoting keeps the terminators of the OSC sequence (ESC, BEL) out of the link, whatever the template holds.
    return quote(_FIELD.sub(lambda match: values[match[1]], template.strip()), safe=_PRINTABLE)
