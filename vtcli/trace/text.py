"""Make untrusted text (model output, file names) safe to print: nothing in it can control a terminal.

Sanitising works character by character, so a text may be split anywhere and its pieces sanitised separately.
"""

from __future__ import annotations

import json
import re

# C0 (except newline and tab), DEL, C1, line and paragraph separators, bidirectional embeddings, overrides and
# isolates (they reorder the text around them), interlinear annotation, lone surrogates (not encodable).
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
_LINE_UNSAFE = re.compile(_UNSAFE.pattern[:-1] + "\t\n]")


def sanitise(text: str) -> str:
    """Returns `text` with all control characters except newlines and tabs made visible or dropped.

    ESC becomes `␛`, DEL `␡`, C1 and lone surrogates `�`; carriage returns and bidirectional controls are dropped.
    """
    return _UNSAFE.sub(_visible, text)


def sanitise_line(text: str) -> str:
    """Sanitises text within a line, such as a name: like `sanitise`, but newlines and tabs become visible too."""
    return _LINE_UNSAFE.sub(_visible, text)


def dump_json(value: object, encoding: str | None = "utf-8") -> str:
    """Returns `value` as one line of JSON, readable (not ASCII only) yet safe to print: unsafe characters are escaped.

    The json module escapes only C0, so 0x9B (CSI) and bidirectional controls would reach the terminal. `encoding` is
    the output stream's (None: unknown). If it cannot represent the text, all non-ASCII characters are escaped.
    """
    line = _LINE_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
    try:
        line.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value).replace("\x7f", "\\u007f")  # the only unsafe ASCII character that json leaves
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
