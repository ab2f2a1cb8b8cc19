"""The contact sheet: every frame in reading order, whole, with its text, on a sheet of sensible shape."""

from __future__ import annotations

import numpy as np
import pytest

from tests.video.conftest import number_of, picture
from vtcli.video.sheet import clock_times, contact_sheet


@pytest.mark.parametrize("count", [1, 2, 7, 16, 64, 200])
@pytest.mark.parametrize(("width", "height"), [(420, 224), (224, 420), (308, 308), (1400, 70), (70, 1400), (28, 28)])
def test_frames_are_there_in_reading_order(count: int, width: int, height: int) -> None:
    """Frames of a bright colour of their own on the dark ground are found row by row."""
    pictures = [np.full((height, width, 3), (255, 60 + number % 190, 255), np.uint8) for number in range(count)]
    sheet = contact_sheet(pictures, [1.5 * n for n in range(count)], range(count))
    pixels = np.asarray(sheet)
    bright = (pixels[..., 0] > 250) & (pixels[..., 2] > 250) & (pixels[..., 1] < 252)
    starts = [
        (y, x)
        for y, x in np.argwhere(bright & ~np.roll(bright, 1, 0) & ~np.roll(bright, 1, 1)).tolist()
        if bright[y : y + 3, x : x + 3].all()
    ]
    assert [int(pixels[y, x, 1]) for y, x in starts] == [60 + number % 190 for number in range(count)]
    rows = len({y for y, _ in starts})
    columns = len({x for _, x in starts})
    assert (rows - 1) * columns < count <= rows * columns
    assert columns == 1 or sheet.width <= 2400


@pytest.mark.parametrize("count", [2, 16, 64, 768])
def test_shape_of_the_sheet(count: int) -> None:
    sheet = contact_sheet(np.zeros((count, 112, 196, 3), np.uint8), [float(n) for n in range(count)], range(count))
    if count <= 64:
        assert 1.2 < sheet.width / sheet.height < 4
    assert sheet.width <= 2400
    assert sheet.width * sheet.height < 25e6


def test_frames_are_not_enlarged_nor_distorted() -> None:
    pixels = np.asarray(contact_sheet([picture(n, 160, 96) for n in range(4)], [0.0, 1.0, 2.0, 3.0], [0, 1, 2, 3]))
    ground = pixels[0, 0]
    rows = np.flatnonzero((pixels != ground).any(axis=(1, 2)))
    top = int(rows[0])
    assert number_of(pixels[top : top + 96, -174:-14]) in (1, 3)  # the last of the first row, at its own size


def test_each_frame_has_its_text() -> None:
    """What is drawn under a frame depends on its time and number alone."""

    def strip(time: float, index: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(contact_sheet(np.zeros((1, 100, 300, 3), np.uint8), [time], [index]))[115:]

    assert np.array_equal(strip(61.0, 7), strip(61.0, 7))
    assert not np.array_equal(strip(61.0, 7), strip(62.0, 7))
    assert not np.array_equal(strip(61.0, 7), strip(61.0, 8))
    assert (strip(61.0, 7) > 200).any()


@pytest.mark.parametrize(
    ("times", "texts"),
    [
        ([0.0], ["00:00.0"]),
        ([0.0, 59.96, 61.25], ["00:00.0", "01:00.0", "01:01.2"]),
        ([3599.0, 3661.5], ["59:59.0", "1:01:01.5"]),
        ([0.0, 0.04, 0.08], ["00:00.00", "00:00.04", "00:00.08"]),
        ([0.0, 0.001], ["00:00.000", "00:00.001"]),
        ([0.0, 0.0], ["00:00.0", "00:00.0"]),
    ],
)
def test_clock_times(times: list[float], texts: list[str]) -> None:
    assert clock_times(times) == texts
