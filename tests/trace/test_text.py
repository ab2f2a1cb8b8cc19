"""Nothing a model writes commands a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.trace.text import dump_json, sanitise, sanitise_line

any_text = st.text(st.characters(exclude_categories=())) | st.text(
    st.sampled_from("\x1b[]0;\x07\x9b\u202e\u2066\r\n\ta\ud800")
)
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def is_safe(text: str, allowed: str) -> bool:
    return not any(
        c not in allowed and (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI) for c in text
    )


@given(any_text)
def test_no_control_character_is_left(text: str) -> None:
    assert is_safe(sanitise(text), "\n\t")
    assert is_safe(sanitise_line(text), "")
    assert is_safe(dump_json(text), "")


@given(any_text, st.integers(0, 50))
def test_pieces_are_as_safe_as_the_whole(text: str, place: int) -> None:
    assert sanitise(text[:place]) + sanitise(text[place:]) == sanitise(text)


@given(st.text())
def test_printable_text_is_kept(text: str) -> None:
    if is_safe(text, "\n\t") and not set(text) & set("\ufff9\ufffa\ufffb"):
        assert sanitise(text) == text


def test_controls_are_visible() -> None:
    assert sanitise("a\x1b[31mb\x9bc\x7f\r\n\td") == "a\u241b[31mb\ufffdc\u2421\n\td"
    assert sanitise("a\u202eb\u2028c") == "ab\u2424c"
    assert sanitise_line("a\nb\tc") == "a\u240ab\u2409c"


@given(any_text)
def test_json_holds_the_same_text(text: str) -> None:
    for encoding in ("utf-8", "cp1252", "ascii", None):
        line = dump_json({"text": text}, encoding)
        assert json.loads(line) == {"text": text}
        line.encode(encoding or "ascii")
        assert is_safe(line, "")


@pytest.mark.parametrize("text", ["é", "中文"])
def test_json_is_readable(text: str) -> None:
    assert text in dump_json(text)
