"""Strange but legal videos: each gives the frames that players show, with a warning where the model sees less."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.video.conftest import Clip, number_of, picture
from tests.video.web import serve
from vtcli.errors import UsageError, VideoError
from vtcli.video import remote
from vtcli.video.details import read_details
from vtcli.video.probe import VideoInfo, probe
from vtcli.video.reader import Frames, read_frames
from vtcli.video.sampling import FrameRequest, plan_frames
from vtcli.video.source import Source, resolve

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def read(path: str | Path | Source, frames: int = 16) -> tuple[VideoInfo, Frames]:
    request = FrameRequest(frames=frames)
    info = probe(path)
    return info, read_frames(info, plan_frames(info, request), request)


def numbers(frames: Frames) -> list[int]:
    return [number_of(pixels) for pixels in frames.pixels]


def write(
    path: Path,
    codec: str,
    pix_fmt: str,
    make: Callable[[int], av.VideoFrame],
    frames: int = 4,
    **settings: Any,
) -> Path:
    """A clip of the frames that `make` gives, two a second; `settings` are the encoder's attributes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=2)
        first = make(0)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, pix_fmt
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(frames):
            frame = make(number)
            frame.pts, frame.time_base = number, Fraction(1, 2)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# Turned and mirrored -------------------------------------------------------------------------------------------------

ONE = 1 << 16


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """`path`, an MP4, with the display matrix (a b; c d), as ISO/IEC 14496-12 has it in `tkhd`."""
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "rotation", "mirrored", "shown"),
    [
        ((-1, 0, 0, 1), 0, True, lambda x: x[:, :, ::-1]),
        ((1, 0, 0, -1), 180, True, lambda x: x[:, ::-1]),
        ((-1, 0, 0, -1), 180, False, lambda x: x[:, ::-1, ::-1]),
        ((0, 1, -1, 0), -90, False, lambda x: np.rot90(x, -1, axes=(1, 2))),
        ((0, -1, 1, 0), 90, False, lambda x: np.rot90(x, 1, axes=(1, 2))),
        ((0, 1, 1, 0), -90, True, lambda x: x.swapaxes(1, 2)),
        ((0, -1, -1, 0), 90, True, lambda x: x[:, ::-1, ::-1].swapaxes(1, 2)),
        ((0, 0, 0, 0), 0, False, lambda x: x),  # means nothing; players show the picture as it is
    ],
)
def test_display_matrices(
    clip: Clip, matrix: Sequence[int], rotation: int, mirrored: bool, shown: Callable[[Pixels], Pixels]
) -> None:
    def asymmetric(number: int) -> av.VideoFrame:
        pixels = picture(number + 5, 112, 56).copy()
        pixels[:20, :30] = (255, 0, 0)
        return av.VideoFrame.from_ndarray(pixels, format="rgb24")

    folder = clip(frames=1).parent
    upright = read(write(folder / "up.mp4", "libx264", "yuv420p", asymmetric))[1].pixels
    turned = with_matrix(write(folder / "turned.mp4", "libx264", "yuv420p", asymmetric), *(ONE * x for x in matrix))
    info, frames = read(turned)
    assert (info.rotation % 360, info.mirrored, info.warnings) == (rotation % 360, mirrored, ())
    assert (info.width, info.height) == ((56, 112) if rotation % 180 else (112, 56))
    assert frames.pixels.shape == shown(upright).shape
    assert np.abs(frames.pixels.astype(int) - shown(upright)).mean() < 1


def test_odd_angles_are_not_applied(clip: Clip) -> None:
    info, frames = read(with_matrix(clip(), 46341, 46341, -46341, 46341))
    assert info.warnings == ("the video is turned by -45 degrees, which is not applied",)
    assert numbers(frames) == list(frames.indices)


def test_absurd_pixel_aspect(clip: Clip) -> None:
    with pytest.raises(VideoError, match="more than 200 times as long as wide"):
        read(clip(frames=2, width=208, height=208, aspect=Fraction(204, 1)))


# Colours -------------------------------------------------------------------------------------------------------------

LUMA = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}  # red's and blue's share


def expected_rgb(y: float, u: float, v: float, matrix: str, full: bool) -> list[float]:
    """RGB of one 8-bit Y'CbCr colour (ITU-R BT.601, BT.709, BT.2020)."""
    red, blue = LUMA[matrix]
    luma, blue_off, red_off = (y, u - 128, v - 128) if full else (
        (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    )  # fmt: skip
    r, b = luma + 2 * (1 - red) * red_off, luma + 2 * (1 - blue) * blue_off
    return [r, (luma - red * r - blue * b) / (1 - red - blue), b]


def flat(pix_fmt: str, *values: int) -> Callable[[int], av.VideoFrame]:
    """Frames of one colour, given as the 8-bit value of each plane."""

    def make(number: int) -> av.VideoFrame:
        frame = av.VideoFrame(96, 64, pix_fmt)
        bits = frame.format.components[0].bits
        for plane, value in zip(frame.planes, values, strict=True):
            kind = "<u2" if bits > 8 else "u1"
            plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value << (bits - 8), kind).tobytes())
        return frame

    return make


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "matrix", "full", "tags"),
    [
        ("libx264", "yuv420p", "601", False, {}),  # untagged, as ffmpeg takes it
        ("libx264", "yuv420p", "601", False, {"colorspace": 6}),
        ("libx264", "yuv420p", "709", False, {"colorspace": 1}),
        ("libx264", "yuv420p", "709", True, {"colorspace": 1, "color_range": 2}),
        ("libx264", "yuv420p", "2020", False, {"colorspace": 9}),
        ("libx264", "yuv422p", "709", False, {"colorspace": 1}),
        ("libx264", "yuv444p", "709", False, {"colorspace": 1}),
        ("libx264", "yuv420p10le", "709", False, {"colorspace": 1}),
        ("libx264", "yuv422p10le", "709", False, {"colorspace": 1}),
        ("libx265", "yuv420p12le", "709", False, {"colorspace": 1}),
        ("mjpeg", "yuvj420p", "601", True, {}),
    ],
)
def test_colours(tmp_path: Path, codec: str, pix_fmt: str, matrix: str, full: bool, tags: dict[str, int]) -> None:
    colour = (100, 90, 180)
    info, frames = read(write(tmp_path / "clip.mp4", codec, pix_fmt, flat(pix_fmt, *colour), **tags))
    assert frames.pixels[:, 9, 9] == pytest.approx(np.tile(expected_rgb(*colour, matrix, full), (4, 1)), abs=3)
    assert info.warnings == ()


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_converted_as_the_paper_did_and_said(tmp_path: Path, transfer: int, name: str) -> None:
    """decord, and ffmpeg without a filter for it, apply the matrix only; the model was trained on that."""
    colour, tags = (100, 90, 180), {"colorspace": 9, "color_primaries": 9, "color_trc": transfer}
    info, frames = read(write(tmp_path / "clip.mp4", "libx265", "yuv420p10le", flat("yuv420p10le", *colour), **tags))
    assert frames.pixels[0, 9, 9] == pytest.approx(expected_rgb(*colour, "2020", False), abs=3)
    assert info.warnings == (f"the video is HDR ({name}): its colours are not mapped to a normal screen's",)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
@pytest.mark.parametrize(("transfer", "hdr"), [(16, "PQ"), (18, "HLG")])
def test_hdr_that_only_the_container_states(clip: Clip, tmp_path: Path, name: str, transfer: int, hdr: str) -> None:
    """FFmpeg's HEVC decoder resets it to unspecified."""
    path = tmp_path / f"hdr-{name}"
    with av.open(str(clip(codec="libx265", pix_fmt="yuv420p10le"))) as film, av.open(str(path), "w") as tagged:
        stream = tagged.add_stream_from_template(film.streams.video[0], opaque=True)
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, transfer, 9
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                tagged.mux(packet)
    assert probe(path).warnings == (f"the video is HDR ({hdr}): its colours are not mapped to a normal screen's",)
    assert read_details(probe(path)).color.hdr == hdr


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("clip.mkv", "ffv1", "gray"),
        ("clip.mkv", "ffv1", "gray16le"),
        ("clip.mkv", "ffv1", "gbrp10le"),
        ("clip.mkv", "ffv1", "yuv410p"),
        ("clip.avi", "rawvideo", "bgr24"),
        ("clip.avi", "mjpeg", "yuvj444p"),
        ("clip.mov", "png", "monob"),
        ("clip.mov", "qtrle", "rgb555be"),
        ("clip.gif", "gif", "rgb8"),
        ("clip.mp4", "libx264", "gray"),
        ("clip.mp4", "libx264", "yuv444p10le"),
        ("clip.webm", "libvpx-vp9", "yuv440p"),
    ],
)
def test_pixel_formats(clip: Clip, name: str, codec: str, pix_fmt: str) -> None:
    info, frames = read(clip(name, frames=20, fps=5, codec=codec, pix_fmt=pix_fmt))
    assert numbers(frames) == list(frames.indices)
    assert (info.frames, info.warnings, frames.warnings) == (20, (), ())


@pytest.mark.parametrize("pix_fmt", ["rgb4", "bgr4"])
def test_pixels_that_ffmpeg_does_not_convert(clip: Clip, tmp_path: Path, pix_fmt: str) -> None:
    path = write(tmp_path / "clip.nut", "rawvideo", pix_fmt, lambda number: av.VideoFrame(32, 32, pix_fmt))
    with pytest.raises(VideoError, match=f"pixels of the format {pix_fmt} cannot be read"):
        read(path)


def half_clear(number: int) -> av.VideoFrame:
    """Red, of which the left half is transparent and the middle half so."""
    pixels = np.zeros((96, 160, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 60:100, 3], pixels[:, 100:, 3] = 128, 255
    return av.VideoFrame.from_ndarray(pixels, format="rgba")


TRANSPARENT = [
    ("clip.mov", "qtrle", "argb"),
    ("clip.mov", "png", "rgba"),
    ("clip.mov", "prores_ks", "yuva444p10le"),
    ("clip.apng", "apng", "rgba"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [*TRANSPARENT, ("clip.mkv", "ffv1", "yuva420p")])
def test_what_is_transparent_lets_white_through(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    info, frames = read(write(tmp_path / name, codec, pix_fmt, half_clear))
    height, width = frames.pixels.shape[1:3]
    for place, colour in [(0.1, (255, 255, 255)), (0.5, (227, 127, 127)), (0.9, (200, 0, 0))]:
        assert frames.pixels[0, height // 2, int(width * place)] == pytest.approx(np.array(colour), abs=4)
    assert info.warnings == ()


def bottom_up(path: Path) -> Path:
    """`path`, an AVI of uncompressed pictures written top-down, with the height in `BITMAPINFOHEADER` made positive."""
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 16
    struct.pack_into("<i", data, at, -struct.unpack_from("<i", data, at)[0])
    path.write_bytes(data)
    return path


def padded(number: int, rows: int) -> av.VideoFrame:
    """`number` in Windows' 32-bit pixels with the fourth byte 0, its top half black; `rows`: -1 for bottom-up."""
    pixels = np.zeros((96, 160, 4), np.uint8)
    pixels[48:, :, :3] = picture(number, 160, 48)
    return av.VideoFrame.from_ndarray(pixels[::rows].copy(), format="bgra")


@pytest.mark.parametrize("rows", [1, -1])
def test_a_fourth_byte_that_is_not_used(tmp_path: Path, rows: int) -> None:
    """BI_RGB with 32 bits, which FFmpeg decodes as colours that are transparent everywhere."""
    path = write(tmp_path / "clip.avi", "rawvideo", "bgra", lambda number: padded(number, rows))
    info, frames = read(path if rows == 1 else bottom_up(path))
    assert [number_of(pixels[pixels.shape[0] // 2 :]) for pixels in frames.pixels] == [0, 1, 2, 3]
    assert not frames.pixels[:, :20].any()
    assert info.warnings == ()


def fading_in(number: int) -> av.VideoFrame:
    """Red: transparent in the first frame, opaque in the last."""
    pixels = np.zeros((96, 160, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, number * 85
    return av.VideoFrame.from_ndarray(pixels, format="rgba")


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), TRANSPARENT)
def test_a_frame_that_is_wholly_transparent(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    _, frames = read(write(tmp_path / name, codec, pix_fmt, fading_in))
    assert frames.pixels[[0, -1], 40, 40] == pytest.approx(np.array([(255, 255, 255), (200, 0, 0)]), abs=4)


def test_a_transparent_gif(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (160, 96), (200, 0, 0, alpha)) for alpha in (0, 255)]
    pictures[0].save(tmp_path / "clip.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert read(tmp_path / "clip.gif")[1].pixels[:, 40, 40].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_transparency_that_is_not_decoded_is_said(tmp_path: Path) -> None:
    info, frames = read(write(tmp_path / "clip.webm", "libvpx-vp9", "yuva420p", half_clear))
    assert len(frames.pixels) == 4
    assert [w for w in info.warnings if "transparency is not read" in w] == list(info.warnings) != []


# Shapes and fields ---------------------------------------------------------------------------------------------------


def test_interlaced_video_is_read_as_it_is(clip: Clip) -> None:
    info, frames = read(clip("clip.ts", codec="mpeg2video", options={"flags": "+ildct+ilme", "top": "1"}))
    assert numbers(frames) == list(frames.indices)
    assert [w for w in info.warnings if "interlaced" in w] == list(info.warnings) != []


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 150), (3, 2), (333, 7)])
def test_tiny_and_odd(clip: Clip, width: int, height: int) -> None:
    info, frames = read(clip("clip.mov", frames=3, width=width, height=height, codec="png", pix_fmt="rgb24"), frames=2)
    assert (info.width, info.height) == (width, height)
    assert len(frames.pixels) == 2


def test_a_line_is_no_picture(clip: Clip) -> None:
    with pytest.raises(VideoError, match="2000x2 pixels is more than 200 times as long as wide"):
        read(clip("clip.mov", frames=2, width=2000, height=2, codec="png", pix_fmt="rgb24"))


@pytest.mark.parametrize("name", ["clip.ts", "clip.mjpeg"])
def test_a_change_of_size(clip: Clip, name: str) -> None:
    """All frames take the shape of the first, as ffmpeg has it."""
    settings: dict[str, Any] = {} if name == "clip.ts" else {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
    first = clip(name, frames=20, **settings).read_bytes()
    path = clip(name, frames=20, width=320, height=256, **settings)
    path.write_bytes(first + path.read_bytes())
    info, frames = read(path)
    assert (info.frames, info.width, info.height) == (40, 160, 96)
    assert [n % 20 for n in frames.indices] == numbers(frames)
    assert frames.warnings[-1] == "8 frames are of another size than the first of the video and stretched to its shape"


# Clocks --------------------------------------------------------------------------------------------------------------


def transport_stream(path: Path, ticks: Sequence[int]) -> Path:
    """A TS of pictures 0, 1, … at `ticks`, in 1/90000 s, which its clock counts modulo 2^33."""
    with av.open(str(path), "w", format="mpegts", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number, 160, 96), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_clock_that_wraps_around(tmp_path: Path) -> None:
    path = transport_stream(tmp_path / "wrap.ts", [2**33 - 90000 + 9000 * i for i in range(20)])
    info, frames = read(path)
    assert info.times == pytest.approx([i / 10 for i in range(20)])
    assert numbers(frames) == list(frames.indices)
    assert info.warnings == frames.warnings == ()


def test_a_clock_that_jumps_ahead(tmp_path: Path) -> None:
    ticks = [9000 * i for i in range(10)] + [90000 * 100 + 9000 * i for i in range(10)]
    info, frames = read(transport_stream(tmp_path / "jump.ts", ticks))
    assert info.times == pytest.approx([tick / 90000 for tick in ticks])
    assert numbers(frames) == list(frames.indices)
    assert any("variable frame rate" in w for w in frames.plan.warnings)


def test_a_clock_that_starts_again(clip: Clip) -> None:
    path = clip("clip.ts", frames=20)
    path.write_bytes(path.read_bytes() * 2)
    info, frames = read(path)
    assert info.times == pytest.approx([i / 25 for i in range(40)])
    assert [n % 20 for n in frames.indices] == numbers(frames)
    assert any("clock jumps back" in w for w in info.warnings)


def test_a_clock_that_jumps_back_to_times_not_used_yet(tmp_path: Path) -> None:
    """Played as the file has it, not in the order of the times."""
    path = transport_stream(tmp_path / "back.ts", [900_000 + 9000 * i for i in range(20)])
    second = transport_stream(tmp_path / "second.ts", [90_000 + 9000 * i for i in range(10)])
    path.write_bytes(path.read_bytes() + second.read_bytes())
    info, frames = read(path, frames=30)
    assert numbers(frames) == [*range(20), *range(10)]
    assert frames.times == pytest.approx([i / 10 for i in range(30)])
    assert any("clock jumps back" in w for w in info.warnings)


def cut(source: Path, path: Path, first: int) -> Path:
    """Copies the packets from number `first` on, as a recording does that begins anywhere."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        stream = part.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if number >= first and packet.size:
                packet.stream = stream
                part.mux(packet)
    return path


@pytest.mark.parametrize("name", ["cut.ts", "cut.mkv"])
def test_a_file_that_begins_within_a_group_of_pictures(clip: Clip, tmp_path: Path, name: str) -> None:
    whole = clip("whole.mkv", frames=100, options={"g": "20", "bf": "0", "sc_threshold": "0"})
    info, frames = read(cut(whole, tmp_path / name, first=5))
    assert (info.frames, info.fps, info.duration) == (80, 25, pytest.approx(3.2, abs=0.01))
    assert numbers(frames) == [20 + index for index in frames.indices]
    assert info.times[0] == 0 and frames.times == pytest.approx([i / 25 for i in frames.indices], abs=0.002)
    assert [*info.warnings, *frames.warnings] == [
        "the file begins in the middle of a group of pictures: its first 15 frames cannot be decoded"
    ]


# Streams -------------------------------------------------------------------------------------------------------------


def with_sound(path: Path, seconds: int, video: bool = True, cover: bool = False) -> Path:
    """Two seconds of video (none without `video`), `seconds` of sound that come first, and a picture on the cover."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        films = []
        if video:
            films.append(container.add_stream("libx264", rate=10))
            films[0].pix_fmt = "yuv420p"
        if cover:
            films.append(container.add_stream("mjpeg", rate=1))
            films[-1].pix_fmt = "yuvj420p"
            films[-1].disposition = av.stream.Disposition.attached_pic
        for film in films:
            film.width, film.height = 160, 96
        for number in range(seconds * 8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, number * 1000, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
        for film in films:
            for number in range(20 if video and film is films[0] else 1):
                picture_frame = av.VideoFrame.from_ndarray(picture(number, 160, 96), format="rgb24")
                picture_frame.pts, picture_frame.time_base = number, Fraction(1, 10)
                container.mux(film.encode(picture_frame))
            container.mux(film.encode())
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_sound_that_outlasts_the_video(tmp_path: Path, name: str) -> None:
    info, frames = read(with_sound(tmp_path / name, seconds=9))
    assert (info.frames, info.duration) == (20, pytest.approx(2.0))
    assert numbers(frames) == list(frames.indices)


def program_stream(path: Path, begin: float, sound: bool) -> Path:
    """200 frames of noise, 25 a second from `begin` s on, 7 MB: further than FFmpeg looks for streams."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", format="vob") as container:
        film = container.add_stream("mpeg2video", rate=25, options={"qscale": "1", "g": "1"})
        film.width, film.height, film.pix_fmt, film.bit_rate = 352, 288, "yuv420p", 20_000_000
        audio = container.add_stream("mp2", rate=48000, layout="mono") if sound else None
        for number in range(200):
            pixels = noise.integers(0, 80, (288, 352, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number + round(25 * begin), Fraction(1, 25)
            container.mux(film.encode(frame))
            if audio is not None:
                heard = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                heard.sample_rate, heard.time_base = 48000, Fraction(1, 48000)
                heard.pts = round(48000 * begin) + 1152 * number
                container.mux(audio.encode(heard))
        container.mux(film.encode())
    return path


def test_a_stream_that_appears_midway(tmp_path: Path) -> None:
    path = program_stream(tmp_path / "late.vob", 0, sound=False)
    assert path.stat().st_size > 5_500_000
    later = program_stream(tmp_path / "later.vob", 8.2, sound=True)
    path.write_bytes(path.read_bytes().rstrip(b"\0").removesuffix(b"\0\0\1\xb9") + later.read_bytes())
    info = probe(path)
    assert info.frames == 400
    assert not any("ends early" in warning for warning in info.warnings)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    info, frames = read(with_sound(tmp_path / "both.mp4", seconds=1, cover=True))
    assert (info.frames, info.codec, info.warnings) == (20, "h264", ())
    assert numbers(frames) == list(frames.indices)
    path = with_sound(tmp_path / "song.mp4", seconds=1, video=False, cover=True)
    with pytest.raises(VideoError, match="its only picture is cover art"):
        read(path)
    with resolve(path, stream=1) as source, pytest.raises(VideoError, match="its only picture is cover art"):
        probe(source)
    with resolve(tmp_path / "both.mp4", stream=2) as source, pytest.raises(UsageError, match="no such video stream"):
        probe(source)


def test_subtitles_that_come_first(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:30,000\nwords\n")
    path = tmp_path / "both.mkv"
    with av.open(str(tmp_path / "words.srt")) as words, av.open(str(clip())) as film, av.open(str(path), "w") as both:
        sources = [words.streams.subtitles[0], film.streams.video[0]]
        streams = [both.add_stream_from_template(source) for source in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = stream
                    both.mux(packet)
    info, frames = read(path)
    assert (info.frames, info.stream, info.duration) == (50, 1, pytest.approx(2.0, abs=0.01))
    assert numbers(frames) == list(frames.indices)


def test_several_streams_are_said(clip: Clip, tmp_path: Path) -> None:
    """One of them is announced and empty, and so not FFmpeg's choice."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        for _ in range(2):
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, 160, 96), format="rgb24")))
        container.mux(stream.encode())
    info, frames = read(path)
    assert numbers(frames) == list(frames.indices)
    (warning,) = info.warnings
    assert "several video streams, 0 (160×96), 1 (160×96): 1 is read, --stream N" in warning
    with resolve(path, stream=1) as source:
        assert probe(source).warnings == ()
    with resolve(path, stream=0) as source, pytest.raises(VideoError, match="holds no frame that can be decoded"):
        probe(source)


def test_a_stream_that_never_comes(clip: Clip) -> None:
    path = clip("clip.mkv")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster
    with pytest.raises(VideoError) as error:
        read(path)
    assert str(error.value).isprintable()


# Animations and single pictures --------------------------------------------------------------------------------------


def animate(path: Path, lengths: Sequence[int], alpha: bool = False, **options: Any) -> Path:
    """Pictures 0, 1, … shown for `lengths` milliseconds each; even ones transparent with `alpha`."""
    pictures = [Image.fromarray(picture(number, 160, 96)) for number in range(len(lengths))]
    if alpha:
        for shown in pictures[::2]:
            shown.putalpha(0)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(lengths), **options)
    return path


def test_gif(tmp_path: Path) -> None:
    """Hundredths of a second, and ten where a frame states none, as browsers have it. It runs once."""
    path = animate(tmp_path / "clip.gif", [100, 0, 50, 20, 30, 1000, 0, 200], loop=0)
    info, frames = read(path)
    assert info.times == pytest.approx([0, 0.1, 0.2, 0.25, 0.27, 0.3, 1.3, 1.4])
    assert info.duration == pytest.approx(1.6)
    assert numbers(frames) == list(range(8))


@pytest.mark.parametrize("loop", [0, 1, 3])
def test_animated_webp(tmp_path: Path, loop: int) -> None:
    info, frames = read(animate(tmp_path / "clip.webp", [100, 0, 10, 11, 30, 1000, 100, 200], loop=loop))
    assert info.times == (0.0, 0.1, 0.2, 0.3, 0.311, 0.341, 1.341, 1.441)
    assert (info.duration, info.fps, info.frames) == (1.641, pytest.approx(8 / 1.641), 8)
    assert (info.width, info.height, info.codec, info.warnings) == (160, 96, "webp", ())
    assert numbers(frames) == list(range(8))
    assert (frames.reader, frames.times) == ("pillow", info.times)


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
def test_an_animated_webp_is_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    info, frames = read(animate(tmp_path / "clip.webp", [100] * 4, lossless=True, exif=exif))
    with Image.open(tmp_path / "clip.webp") as stored:
        upright = ImageOps.exif_transpose(stored)
    assert (info.width, info.height) == upright.size == ((160, 96) if orientation == 3 else (96, 160))
    assert frames.warnings == ()
    assert frames.pixels.shape[1] > frames.pixels.shape[2] or orientation == 3


def test_transparent_webp(tmp_path: Path) -> None:
    _, frames = read(animate(tmp_path / "clip.webp", [100] * 8, alpha=True, lossless=True))
    assert numbers(frames) == [255, 1, 255, 3, 255, 5, 255, 7]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_webp(tmp_path: Path, share: float) -> None:
    path = animate(tmp_path / "clip.webp", [100] * 8)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(VideoError) as error:
        read(path)
    assert str(error.value).isprintable()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield
    remote._remotes.clear()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_animated_webp_on_a_server(tmp_path: Path, no_proxy: None, ranges: bool) -> None:
    path = animate(tmp_path / "clip.webp", [100] * 8)
    with serve(tmp_path) as web:
        web.ranges = ranges
        with resolve(f"{web.address}/clip.webp") as source:
            assert numbers(read(source)[1]) == numbers(read(path)[1]) == list(range(8))


@pytest.mark.parametrize("suffix", ["apng", "avif"])
def test_other_animations(tmp_path: Path, suffix: str) -> None:
    if suffix == "apng":
        path = animate(tmp_path / "clip.png", [100] * 8)
    else:
        path = tmp_path / "clip.avif"
        try:
            animate(path, [100] * 8)
        except (KeyError, ValueError):
            pytest.skip("this Pillow writes no AVIF")
    info, frames = read(path)
    assert info.times == pytest.approx([i / 10 for i in range(8)])
    assert numbers(frames) == list(range(8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_a_single_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(picture(90, 160, 96)).save(path)
    info, frames = read(path)
    assert (info.frames, info.width, info.height) == (1, 160, 96)
    assert numbers(frames) == [90, 90]


def test_a_photograph_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture(90, 160, 96)).rotate(90, expand=True).save(path, exif=exif)
    info, frames = read(path)
    assert (info.width, info.height) == (160, 96)
    assert numbers(frames) == [90, 90]


# Real clips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchcodec/nasa_13013_hdr.mp4", "HDR (PQ)"),
        ("torchcodec/nasa_13013.mp4", "0 (320×180), 3 (480×270): 3 is read"),
        ("derived/interlaced_tff.ts", "interlaced"),
    ],
)
def test_real_oddities(material: Path, name: str, words: str) -> None:
    assert [w for w in probe(material / "videos" / name).warnings if words in w]


def test_a_stream_of_a_real_clip(material: Path) -> None:
    with resolve(material / "videos/torchcodec/nasa_13013.mp4", stream=0) as source:
        info, frames = read(source)
    assert (info.stream, info.width, info.height, info.frames) == (0, 320, 180, 325)
    assert len(frames.pixels) == 16
