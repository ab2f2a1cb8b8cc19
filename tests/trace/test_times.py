"""Times as models write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcli.trace.times import format_range, format_time, parse_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:00-00:10", (0, 10)),
        ("01:15-01:30", (75, 90)),
        ("1:02:03-1:02:04.5", (3723, 3724.5)),
        ("0.0-5.0 seconds", (0, 5)),
        ("0s-5s", (0, 5)),
        ("0 sec to 5 secs.", (0, 5)),
        ("12.3s", (12.3, 12.3)),
        ("12.3", (12.3, 12.3)),
        ("12.3-15.0", (12.3, 15)),
        ("00:05", (5, 5)),
        (" 00:05 – 00:07 ", (5, 7)),
        ("00:05\u201400:07", (5, 7)),
        ("00:05~00:07", (5, 7)),
        ("00:05 \u2192 00:07", (5, 7)),
        ("00:05 --> 00:07", (5, 7)),
        ("from 00:05 to 00:07", (5, 7)),
        ("[00:05 - 00:07]", (5, 7)),
        ("\uff10\uff10\uff1a\uff10\uff15\uff5e\uff10\uff10\uff1a\uff10\uff17", (5, 7)),
        ("00:00:05,500-00:00:07,250", (5.5, 7.25)),
        ("75:30-76:00", (4530, 4560)),
        ("00:75-00:90", (75, 90)),
        ("00:10-00:05", (5, 10)),
        ("00:05-7", (5, 7)),
    ],
)
def test_read(text: str, expected: tuple[float, float]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "start_time-end_time",
        "the beginning",
        "00:05-end",
        "-5",
        "1-2-3",
        "1:2:3:4",
        "nan",
        "inf-inf",
        "1e9",
        "00:01-00:02, 00:03-00:04",
        "1" * 20,
        "00:05-",
        "-",
        "2 minutes",
        "00:05\x1b[31m",
        "\N{ARABIC-INDIC DIGIT ONE}:05",
    ],
)
def test_nonsense(text: str) -> None:
    assert parse_range(text) is None


@given(st.text(max_size=64))
def test_any_text_is_read_or_refused(text: str) -> None:
    times = parse_range(text)
    assert times is None or 0 <= times[0] <= times[1] < float("inf")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "00:00"),
        (2, "00:02"),
        (2.5, "00:02.5"),
        (2.04, "00:02.04"),
        (59.999, "01:00"),
        (75.25, "01:15.25"),
        (3599.996, "1:00:00"),
        (3723, "1:02:03"),
        (36000, "10:00:00"),
        (-1.5, "-00:01.5"),
        (-0.001, "00:00"),
    ],
)
def test_format(seconds: float, expected: str) -> None:
    assert format_time(seconds) == expected


@given(st.integers(0, 999 * 3600 * 100), st.integers(0, 100_000))
def test_a_written_range_reads_back(start: int, length: int) -> None:
    written = format_range(start / 100, (start + length) / 100)
    assert parse_range(written) == pytest.approx((start / 100, (start + length) / 100))
