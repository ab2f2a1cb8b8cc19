"""A contact sheet: all frames of a plan in one picture, in rows, each with its time and number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from vtcli.video.picture import Picture

_PIXELS = 1920 * 1200  # of all frames together, but each frame has at least the next number
_LEAST_PIXELS = 160 * 90
_MOST_PIXELS = 40_000_000  # of all frames together, where they are thousands
_WIDTH = 2400  # of the sheet, if its frames fit
_LONGEST_SIDE = 65_000  # JPEG's limit is 65,535
_ASPECT = 16 / 9  # of the sheet, roughly
_TALL = 1.3  # how much worse a sheet that is too tall is than one that is too wide

_GROUND, _BRIGHT, _DIM = (24, 25, 28), (240, 240, 240), (150, 152, 158)
_FONT_SIZES = (13, 18)  # pixels, for small and for large frames
_LARGE = 280  # frame width in pixels from which a frame is large


def contact_sheet(pictures: Picture | Sequence[Picture], times: Sequence[float], indices: Sequence[int]) -> Image.Image:
    """Returns the sheet, RGB, with `pictures`, all of one shape, uint8 (height, width, 3), in reading order.

    Each has its time (given in seconds, written as MM:SS.s) and its number below it. Many frames are made smaller;
    frames are never made larger.
    """
    height, width = pictures[0].shape[:2]
    texts = list(zip(clock_times(times), (f"#{index}" for index in indices), strict=True))
    grid = _lay_out(len(pictures), width, height, texts)
    sheet = Image.new("RGB", grid.size, _GROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (picture, (time, index)) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(number, grid.columns)
        left = grid.gap + column * (grid.cell_width + grid.gap)
        top = grid.gap + row * (grid.cell_height + grid.gap)
        image = Image.fromarray(picture)
        if image.size != (grid.width, grid.height):
            image = image.resize((grid.width, grid.height), Image.Resampling.LANCZOS)
        sheet.paste(image, (left + (grid.cell_width - grid.width) // 2, top))
        base = top + grid.height + grid.line
        if grid.lines == 1:
            draw.text((left, base), time, fill=_BRIGHT, font=grid.font, anchor="ls")
            draw.text((left + grid.cell_width, base), index, fill=_DIM, font=grid.font, anchor="rs")
        else:
            middle = left + grid.cell_width / 2
            draw.text((middle, base), time, fill=_BRIGHT, font=grid.font, anchor="ms")
            draw.text((middle, base + grid.line), index, fill=_DIM, font=grid.font, anchor="ms")
    return sheet


def clock_times(times: Sequence[float]) -> list[str]:
    """Formats `times` (seconds) as `MM:SS.s`, from an hour on `H:MM:SS.s`, with decimals that keep neighbours apart."""
    close = min((b - a for a, b in pairwise(times) if b > a), default=1.0)
    places = min(3, max(1, math.ceil(-math.log10(close) - 1e-9)))
    return [_clock_time(time, places) for time in times]


def _clock_time(seconds: float, places: int) -> str:
    ticks, unit = round(seconds * 10**places), 10**places
    minutes, rest = divmod(ticks, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes:02}"
    return f"{clock}:{rest // unit:02}.{rest % unit:0{places}}"


@dataclass(frozen=True)
class _Grid:
    """The layout, in pixels. A cell is a frame of width × height above its text of `lines` lines."""

    columns: int
    rows: int
    width: int
    height: int
    cell_width: int
    lines: int
    line: int
    gap: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    @property
    def cell_height(self) -> int:
        return self.height + self.lines * self.line + self.line // 3

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.columns * (self.cell_width + self.gap) + self.gap,
            self.rows * (self.cell_height + self.gap) + self.gap,
        )


def _lay_out(count: int, width: int, height: int, texts: Sequence[tuple[str, str]]) -> _Grid:
    """Returns the grid for `count` frames of width × height: sets their size, then the columns for a good shape."""
    pixels = max(_PIXELS / count, min(_LEAST_PIXELS, _MOST_PIXELS / count))
    scale = min(1.0, math.sqrt(pixels / (width * height)))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    size = _FONT_SIZES[width >= _LARGE]
    font = ImageFont.load_default(size)
    one_line = max(font.getlength(f"{time}  {index}") for time, index in texts)
    two_lines = max(font.getlength(text) for pair in texts for text in pair)
    lines = 1 if one_line <= max(width, two_lines) else 2
    cell_width = max(width, math.ceil(one_line if lines == 1 else two_lines))
    line, gap = round(size * 1.3), round(size * 0.8)

    def grid(columns: int) -> _Grid:
        rows = -(-count // columns)
        return _Grid(columns, rows, width, height, cell_width, lines, line, gap, font)

    def badness(grid: _Grid) -> float:
        wide, tall = grid.size
        off = math.log(wide / tall / _ASPECT)
        empty = (grid.columns * grid.rows - count) / count
        return (-_TALL * off if off < 0 else off) + 2 * empty

    grids = [grid(columns) for columns in range(1, count + 1)]
    fitting = [g for g in grids if g.size[1] <= _LONGEST_SIDE and (g.columns == 1 or g.size[0] <= _WIDTH)]
    # If no sheet is both narrow and short enough, it may be as wide as necessary.
    fitting = fitting or [next((g for g in grids if g.size[1] <= _LONGEST_SIDE), grids[-1])]
    return min(fitting, key=badness)
