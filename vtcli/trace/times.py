"""Parse the times a model writes inside `<time>` into seconds, and format seconds for people."""

from __future__ import annotations

import re
import unicodedata

_POINT = r"(?:(?:(\d{1,3}):)?(\d{1,4}):)?(\d{1,6}(?:\.\d{1,6}|,\d{3})?)\s*(?:seconds?|secs?|s|秒)?"
_DASH = r"(?:-{1,3}>?|[\u2010-\u2015\u2212~\u301c\u2192]|to|until|till|至|到)"
_RANGE = re.compile(
    rf"[\[(]?\s*(?:from\s+|at\s+)?{_POINT}(?:\s*{_DASH}\s*{_POINT})?\s*[\])]?\.?", re.ASCII | re.IGNORECASE
)


def parse_range(text: str) -> tuple[float, float] | None:
    """Returns start and end in seconds of `MM:SS-MM:SS`, `H:MM:SS`, `0.0-5.0 seconds`, `12.3s` and similar forms.

    The paper's traces hold `mm:ss-mm:ss`; the base model writes `0.0-5.0 seconds`. Separators are dashes of any kind,
    `~`, arrows and words such as `to`. A single time is a point (start equals end). A reversed range denotes the same
    part of the video, so its ends are swapped. `00:75` is 75 seconds, as meant by models that count past the minute.
    Anything else (`start_time-end_time`, `the beginning`, several ranges) gives None.
    """
    match = _RANGE.fullmatch(unicodedata.normalize("NFKC", text).strip())
    if match is None:
        return None
    start = _seconds(match[1], match[2], match[3])
    end = start if match[6] is None else _seconds(match[4], match[5], match[6])
    return min(start, end), max(start, end)


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    # Round once, after the sum: 0.1 + 60 would otherwise carry a floating-point error.
    return round(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", ".")), 6)


def format_time(seconds: float) -> str:
    """Formats as `00:02`, `1:02:03`, or `00:02.5` with a fraction (at most hundredths); `-` before negative times."""
    hundredths = round(abs(seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{rest // 100:02}" if hours else f"{minutes:02}:{rest // 100:02}"
    fraction = f".{rest % 100:02}".rstrip("0").rstrip(".")
    return ("-" if seconds < 0 and hundredths else "") + clock + fraction


def format_range(start: float, end: float) -> str:
    """Formats as `00:02-00:04` with an en dash, or as one time if both ends read the same."""
    first, last = format_time(start), format_time(end)
    return first if first == last else f"{first}\u2013{last}"
