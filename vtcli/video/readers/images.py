"""Reads pictures as a video: a folder of numbered ones, or an animated WebP, which FFmpeg does not decode.

Pillow reads the pictures. Only planned pictures and the first frame of a WebP are decoded; file names describe a
folder's content, the stated durations that of a WebP.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401  # plugins register

from vtcli.errors import UsageError, VideoError, VtError
from vtcli.video.container import open_bytes
from vtcli.video.picture import Picture, fit
from vtcli.video.probe import VideoInfo, with_frames
from vtcli.video.pulse import beat
from vtcli.video.sampling import FramePlan, FrameRequest, plan_frames
from vtcli.video.source import Source
from vtcli.video.text import shown

if TYPE_CHECKING:
    from vtcli.video.reader import Frames

READER = "pillow"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")  # others run programs (EPS) or render documents
_SHORTEST, _INSTEAD = 10, 100  # ms: frames of an animation no longer than the first number last the second
_ORIENTATION = 0x0112  # EXIF
_LYING = (5, 6, 7, 8)  # its values that swap width and height


class _Pictures(Protocol):
    """Numbered pictures that can be loaded in ascending order."""

    def name(self, number: int) -> str:
        """Returns the picture's name for messages."""

    def load(self, number: int) -> Image.Image:
        """Returns the decoded picture. Raises whatever Pillow raises."""


def probe_pictures(source: Source) -> VideoInfo:
    """Probes a folder or an animated WebP.

    Raises VideoError, and UsageError where a folder's rate is missing or a stream is requested.
    """
    if source.stream is not None:
        raise UsageError(f"--stream {source.stream}: {source.label} has no streams; leave --stream out")
    return _probe_folder(source) if source.kind == "folder" else _probe_animation(source)


def choose_picture_reader(source: Source, name: str) -> str:
    """Like `vtcli.video.reader.choose_reader`, for pictures. Raises VtError for any reader but `auto`."""
    if name != "auto":
        raise VtError(f"--reader {name} reads no pictures; leave it out for {source.label}")
    return READER


def read_pictures(info: VideoInfo, plan: FramePlan, request: FrameRequest, reader: str = "auto") -> Frames:
    """Returns the frames of `plan`. Unreadable pictures are left out, and the plan is remade from the others.

    Raises VideoError if nothing can be read, VtError for a reader other than Pillow.
    """
    from vtcli.video.reader import Frames  # circular: that module calls this one

    source = info.source
    assert source is not None
    reader = choose_picture_reader(source, reader)
    there = list(range(info.frames))
    found = info
    pictures: dict[int, Picture] = {}  # by number in the source, as are the next two
    odd: dict[int, bool] = {}
    broken: dict[int, str] = {}
    with _open(source, info) as album:
        while True:
            wanted = dict.fromkeys(there[i] for i in plan.indices)
            shape = (plan.height, plan.width, 3)
            pictures = {n: picture for n, picture in pictures.items() if n in wanted and picture.shape == shape}
            for number in [n for n in wanted if n not in pictures]:
                beat()
                try:
                    rgb = rgb_of(album.load(number))
                except MemoryError:
                    raise
                except Exception as error:  # damaged files make Pillow raise nearly everything
                    broken[number] = f"{album.name(number)}: {reason_of(error)}"
                    continue
                odd[number] = (rgb.shape[1], rgb.shape[0]) != (info.width, info.height)
                pictures[number] = fit(rgb, 0, plan.width, plan.height)
            if len(pictures) == len(wanted):
                break
            there = [number for number in there if number not in broken]
            if not there:
                raise VideoError(f"{source.label} holds no picture that can be read ({broken[min(broken)]})")
            found = with_frames(info, [info.times[number] for number in there], [])
            plan = plan_frames(found, request)
    notes = _notes(info, [broken[number] for number in sorted(broken)], sum(odd[number] for number in wanted))
    pixels = np.stack([pictures[there[i]] for i in plan.indices])
    return Frames(pixels, plan.indices, tuple(found.times[i] for i in plan.indices), plan, reader, notes)


def _notes(info: VideoInfo, broken: Sequence[str], odd: int) -> tuple[str, ...]:
    notes = []
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        notes.append(f"pictures that cannot be read are left out: {broken[0]}{more}")
    if odd:
        them = "1 picture is" if odd == 1 else f"{odd} pictures are"
        notes.append(f"{them} not {info.width}×{info.height} as the first and stretched to its shape")
    return tuple(notes)


def rgb_of(image: Image.Image) -> Picture:
    """Returns uint8 (height, width, 3), rotated as EXIF says, and transparency over white as in qwen-vl-utils."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip values above 255
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return np.repeat((deep // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, (255, 255, 255))
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    return np.asarray(image.convert("RGB"))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns the width and height of `image` as `rgb_of` will return it, without decoding it."""
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _ORIENTATION in image.tag_v2:
        return width, height  # Pillow has already applied this tag to the size
    return (height, width) if image.getexif().get(_ORIENTATION) in _LYING else (width, height)


def open_image(file: BinaryIO) -> Image.Image:
    """Opens the picture in `file` without decoding it. Pillow refuses oversized ones, and writes nothing to stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def reason_of(error: Exception) -> str:
    """Says why Pillow could not read a picture, in a few words without its path."""
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels"
    if isinstance(error, VideoError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    text = str(getattr(error, "strerror", None) or error)
    return " ".join(text.split()).lower() if text.isprintable() and text else "damaged"


# A folder ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    folder: str
    names: tuple[str, ...]

    def name(self, number: int) -> str:
        return shown(self.names[number])

    @contextmanager
    def open(self, number: int) -> Iterator[Image.Image]:
        path = os.path.join(self.folder, self.names[number])
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block forever
            raise VideoError("not a regular file")
        with open(path, "rb") as file, open_image(file) as image:
            yield image

    def load(self, number: int) -> Image.Image:
        with self.open(number) as image:
            image.load()
            return image


def _probe_folder(source: Source) -> VideoInfo:
    names = _names(source)
    if not names:
        raise VideoError(f"{source.label} is a folder, not a video, and holds no pictures")
    if source.rate is None:
        raise UsageError(
            f"{source.label} is a folder of {len(names)} pictures: say how many a second they are, as --fps 2"
        )
    if not (math.isfinite(source.rate) and source.rate > 0):
        raise UsageError(f"--fps must be above 0, not {source.rate:g}")
    codec, width, height = _first(source, _Folder(source.place, names))
    return VideoInfo(
        path=source.name,
        duration=len(names) / source.rate,
        fps=source.rate,
        width=width,
        height=height,
        frames=len(names),
        start=0.0,
        times=tuple(i / source.rate for i in range(len(names))),
        rotation=0,
        stream=0,
        codec=codec,
        warnings=(*source.warnings, *_uneven(names, source.rate)),
        source=source,
    )


def _names(source: Source) -> tuple[str, ...]:
    """Returns the pictures' names, sorted by the numbers in them, without the contact sheet that `vt frames` writes.

    Raises VideoError for a link out of the folder.
    """
    from vtcli.video.export import RECORD, SHEET  # circular: that module imports Frames

    home = os.path.join(os.path.realpath(source.place), "")
    names = []
    try:
        with os.scandir(source.place) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
                    continue
                if entry.is_symlink():
                    if not os.path.realpath(entry.path).startswith(home):
                        raise VideoError(
                            f"{source.label}: {shown(entry.name)} is a link out of the folder, which is not followed; "
                            "copy the pictures into it"
                        )
                elif not entry.is_file():
                    continue
                names.append(entry.name)
    except OSError as error:
        raise VideoError(f"{source.label} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if SHEET in names and os.path.isfile(os.path.join(source.place, RECORD)):
        names.remove(SHEET)
    return tuple(sorted(names, key=_natural))


def _natural(name: str) -> tuple[list[str | int], str]:
    """Returns a key that sorts frame9 before frame10."""
    parts = re.split(r"([0-9]+)", os.path.splitext(name)[0].casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _uneven(names: Sequence[str], rate: float) -> tuple[str, ...]:
    """Returns a warning if the numbers do not rise evenly: pictures are missing, or there are several sequences."""
    numbers = [re.findall(r"[0-9]+", os.path.splitext(name)[0]) for name in names]
    if not all(numbers):
        name = names[numbers.index([])]
        return (f"{shown(name)} has no number in its name: the pictures are taken in the order of their names",)
    # Most tools put the number at the end of the name, `vt frames` at the beginning: 007_0.280s.png.
    breaks = [_first_break([int(found[field]) for found in numbers]) for field in (-1, 0)]
    at = breaks[0]
    if at is None or None in breaks:
        return ()
    return (
        f"the pictures' numbers are uneven ({shown(names[at + 1])} follows {shown(names[at])}): "
        f"each is still shown 1/{rate:g} s after the one before",
    )


def _first_break(numbers: Sequence[int]) -> int | None:
    """Returns the first index where `numbers` do not rise by the usual step; None if they always do."""
    steps = [b - a for a, b in pairwise(numbers)]
    usual = max(set(steps), key=steps.count, default=1)
    return next((i for i, step in enumerate(steps) if step != usual or step < 1), None)


def _first(source: Source, album: _Folder) -> tuple[str, int, int]:
    """Returns the format and the displayed width and height of the first picture that can be opened."""
    reason = ""
    for number in range(len(album.names)):
        beat()
        try:
            with album.open(number) as image:
                return (image.format or "").lower(), *_upright_size(image)
        except MemoryError:
            raise
        except Exception as error:
            reason = reason or f"{album.name(number)}: {reason_of(error)}"
    raise VideoError(f"{source.label} holds no picture that can be read ({reason})")


# An animation --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Animation:
    image: Image.Image

    def name(self, number: int) -> str:
        return f"number {number}"

    def load(self, number: int) -> Image.Image:
        self.image.seek(number)
        self.image.load()
        return self.image


def _probe_animation(source: Source) -> VideoInfo:
    with open_bytes(source) as file:
        try:
            lengths = _durations(file)
            file.seek(0)
            with open_image(file) as image:
                image.seek(0)
                image.load()
                width, height = _upright_size(image)
        except MemoryError:
            raise
        except Exception as error:
            raise VideoError(f"{source.label} is not a video that can be read: {reason_of(error)}") from None
    if not lengths:
        raise VideoError(f"{source.label} holds no frame that can be decoded")
    ends = [ms / 1000 for ms in accumulate(lengths)]
    return VideoInfo(
        path=source.name,
        duration=ends[-1],
        fps=len(lengths) / ends[-1],
        width=width,
        height=height,
        frames=len(lengths),
        start=0.0,
        times=(0.0, *ends[:-1]),
        rotation=0,
        stream=0,
        codec="webp",
        warnings=source.warnings,
        source=source,
    )


def _durations(file: BinaryIO) -> list[int]:
    """Returns how many ms browsers show each frame of a WebP (RFC 9649, section 2.7.1.4: chunks `ANMF`)."""
    file.seek(12)
    found = []
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        size += size % 2
        if kind == b"ANMF" and len(frame := file.read(min(16, size))) == 16:
            size -= 16
            length = int.from_bytes(frame[12:15], "little")
            found.append(_INSTEAD if length <= _SHORTEST else length)
        file.seek(size, os.SEEK_CUR)
    return found


@contextmanager
def _open(source: Source, info: VideoInfo) -> Iterator[_Pictures]:
    """Yields the pictures that `info` was made from. Raises VideoError if their number in a folder has changed."""
    if source.kind == "folder":
        names = _names(source)
        if len(names) != info.frames:
            raise VideoError(f"{source.label} changed while it was read: {len(names)} pictures, {info.frames} before")
        yield _Folder(source.place, names)
        return
    with open_bytes(source) as file, open_image(file) as image:
        yield _Animation(image)
