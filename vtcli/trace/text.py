"""Makes untrusted text (model output, file names) safe to print: nothing in it can command a terminal.

Every function works character by character, so text may be cut anywhere and its pieces treated one by one.
"""

from __future__ import annotations

import json
import re

# C0 (but newline and tab), DEL, C1, line and paragraph separators, bidirectional embeddings, overrides and
# isolates (they reorder what is around them), interlinear annotation, halves of surrogate pairs (not encodable).
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
_LINE_UNSAFE = re.compile(_UNSAFE.pattern[:-1] + "\t\n]")


def sanitise(text: str) -> str:
    """`text` with only newlines and tabs left of its control characters; the others become visible symbols.

    ESC reads `␛`, DEL `␡`, C1 and lone surrogates `�`; carriage returns and bidirectional controls are dropped.
    """
    return _UNSAFE.sub(_visible, text)


def sanitise_line(text: str) -> str:
    """As `sanitise`, for a name inside one line: newlines and tabs become visible too."""
    return _LINE_UNSAFE.sub(_visible, text)


def dump_json(value: object, encoding: str | None = "utf-8") -> str:
    """`value` as one line of JSON, readable (not ASCII only) yet safe to print: unsafe characters are escaped.

    json itself escapes only C0, so 0x9B (CSI) and bidirectional controls would reach the terminal. `encoding` is
    that of the stream written to (None: unknown): where it cannot hold the text, everything but ASCII is escaped.
    """
    line = _LINE_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
    try:
        line.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value).replace("\x7f", "\\u007f")  # the one unsafe character of ASCII it leaves
    return line


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x0D:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if code in (0x2028, 0x2029):
        return "\u2424"
    return "\ufffd" if code <= 0x9F or 0xD800 <= code <= 0xDFFF else ""
