"""Makes clips for measuring reading: encodes a short piece once and repeats its packets to the full length.

The piece shows a film if the material is there, because what can be skipped depends on the content; otherwise it shows
a synthetic scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from PIL import Image

MATERIAL = Path(__file__).resolve().parents[2] / "shared" / "material" / "videos"
FILM = MATERIAL / "moviepy" / "big_buck_bunny_0_30.webm"  # 720 pictures of 1280x720


@dataclass(frozen=True)
class Recipe:
    """How a clip is made.

    piece: frames to encode, repeated until `seconds` are full. unsteady: frames come a little early or late, with
    pauses, as in clips from phones. real: a clip of the material to use instead, if it is there.
    """

    name: str
    file: str
    codec: str
    options: dict[str, str]
    piece: int
    seconds: int
    width: int = 1280
    height: int = 720
    fps: int = 30
    unsteady: bool = False
    real: str = ""


@dataclass(frozen=True)
class Clip:
    """A file to read. Frame i shows what frame i mod `period` of `piece` shows, except for encoder noise."""

    name: str
    path: Path
    piece: Path
    period: int


_X265 = {"preset": "fast", "x265-params": "keyint=250:min-keyint=250:scenecut=0:log-level=none"}
_X264 = {"preset": "medium", "crf": "23", "g": "300", "x264-params": "min-keyint=300:scenecut=0"}
RECIPES = (
    Recipe("10 s 720p, one GOP", "10s.mp4", "libx264", _X264, 300, 10),
    Recipe("22 s VFR", "vfr.mp4", "libx264", {"g": "100"}, 490, 22, 640, 360, 22, True, "video-r1/video1.mp4"),
    Recipe("10 min 720p", "10min.mp4", "libx264", _X264, 600, 600),
    Recipe("60 min 720p", "60min.mp4", "libx264", _X264, 600, 3600),
    Recipe("10 min 1080p HEVC", "hevc.mp4", "libx265", _X265, 500, 600, 1920, 1080, 25),
    Recipe("5 min VP9", "vp9.webm", "libvpx-vp9", {"cpu-used": "5", "row-mt": "1", "crf": "34", "b": "0"}, 512, 300),
    Recipe("5 min AV1", "av1.mp4", "libsvtav1", {"preset": "9", "crf": "38"}, 600, 300),
)


def make(recipe: Recipe, folder: Path) -> Clip:
    """Returns the clip of `recipe` in `folder`, where it is kept for the next run."""
    real = MATERIAL / recipe.real
    if recipe.real and real.is_file():
        return Clip(recipe.name, real, real, 0)
    path, piece = folder / recipe.file, folder / f"piece-{recipe.file}"
    length = recipe.seconds * recipe.fps
    if not path.exists():
        encode(recipe, piece)
        part = path.with_name(f"part-{path.name}")
        repeat(piece, part, recipe, -(-length // recipe.piece))
        part.rename(path)
    return Clip(recipe.name, path, piece, recipe.piece)


def pictures(count: int, width: int, height: int) -> Iterator[av.VideoFrame]:
    """Yields the first `count` pictures of the film, or of the scene if there is no film."""
    if not FILM.is_file():
        yield from (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in scene(count, width, height))
        return
    with av.open(str(FILM)) as film:
        for frame in islice(film.decode(video=0), count):
            picture = frame.reformat(width, height, "yuv420p")
            picture.pict_type = PictureType.NONE  # the encoder decides
            yield picture


def scene(count: int, width: int, height: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yields the view of a camera that wanders over rough ground, with boxes moving across it."""
    chance = np.random.default_rng(0)
    coarse = chance.integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize((width * 2, height * 2), Image.Resampling.BICUBIC))
    for number in range(count):
        left = int(width / 2 * (1 + np.sin(number / 40)))
        top = int(height / 2 * (1 + np.cos(number / 57)))
        picture = ground[top : top + height, left : left + width].copy()
        for box in range(4):
            x = (number * (5 + 2 * box)) % (width - width // 10)
            y = height * box // 4 + number % (height // 8)
            picture[y : y + height // 8, x : x + width // 10] = (60 * box, number % 256, 255 - 60 * box)
        yield picture


def encode(recipe: Recipe, path: Path) -> None:
    """Encodes the piece and writes it."""
    chance = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(recipe.codec, rate=recipe.fps, options=recipe.options)
        stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, "yuv420p"
        base = Fraction(1, recipe.fps * 100)
        if recipe.unsteady:
            stream.codec_context.time_base = base
        for number, frame in enumerate(pictures(recipe.piece, recipe.width, recipe.height)):
            frame.pts, frame.time_base = number * 100, base
            if recipe.unsteady:
                frame.pts += int(chance.integers(-30, 30)) + 500 * (number // 60)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat(piece: Path, path: Path, recipe: Recipe, times: int) -> None:
    """Writes the packets of `piece`, `times` times in a row."""
    with av.open(str(piece)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)  # works with any decoder
        packets = [packet for packet in source.demux(stream) if packet.size]
        assert stream.time_base is not None
        length = round(Fraction(recipe.piece, recipe.fps) / stream.time_base)
        for number in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = packet.pts + number * length, packet.dts + number * length
                again.duration, again.time_base = packet.duration, stream.time_base
                again.is_keyframe = packet.is_keyframe
                again.stream = copy
                target.mux(again)
