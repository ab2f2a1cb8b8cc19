"""Small films in many containers and codecs, made on the spot: what the mutations start from."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, FRAMES, RATE = 96, 64, 30, 5

# file name → codec, pixel format, options of the codec, options of the container
FILMS: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "h264.mp4": ("libx264", "yuv420p", {"g": "10", "bf": "2"}, {}),
    "h264-first.mp4": ("libx264", "yuv420p", {"g": "10"}, {"movflags": "faststart"}),
    "h264-parts.mp4": ("libx264", "yuv420p", {"g": "10"}, {"movflags": "frag_keyframe+empty_moov"}),
    "h264-444.mkv": ("libx264", "yuv444p", {"g": "250"}, {}),
    "h264.ts": ("libx264", "yuv420p", {"g": "10", "bf": "2"}, {}),
    "h264.flv": ("libx264", "yuv420p", {"g": "10"}, {}),
    "hevc.mp4": ("libx265", "yuv420p10le", {"x265-params": "log-level=none:pools=none:frame-threads=1"}, {}),
    "vp8.webm": ("libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "8"}, {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"cpu-used": "8"}, {}),
    "av1.mkv": ("libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}, {}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"bf": "2"}, {}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", {"bf": "2", "strict": "-2"}, {}),
    "mjpeg.mov": ("mjpeg", "yuvj420p", {}, {}),
    "png.mov": ("png", "rgb24", {}, {}),
    "prores.mov": ("prores", "yuv422p10le", {}, {}),
    "ffv1.mkv": ("ffv1", "yuv420p", {}, {}),
    "wmv2.asf": ("wmv2", "yuv420p", {}, {}),
    "gif.gif": ("gif", "rgb8", {}, {}),
    "png.apng": ("apng", "rgba", {}, {}),
    "webp.webp": ("libwebp_anim", "yuva420p", {}, {}),
}


def write_films(folder: Path) -> list[Path]:
    """Writes all films this build of PyAV can encode; the same bytes each time with the same build."""
    av.logging.set_level(None)
    written = []
    for name, (codec, pix_fmt, options, muxing) in FILMS.items():
        try:
            av.Codec(codec, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        path = folder / name
        with av.open(str(path), "w", options={"fflags": "+bitexact", **muxing}) as container:
            stream = container.add_stream(codec, rate=RATE, options={"threads": "1", **options})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
            for number in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        written.append(path)
    return written


def _picture(number: int) -> np.ndarray[Any, Any]:
    """uint8 (HEIGHT, WIDTH, 3): a square moves over a slope; a little noise gives packets something to hold."""
    noise = np.random.default_rng(number).integers(0, 24, (HEIGHT, WIDTH, 3))
    picture = (np.linspace(0, 180, WIDTH)[None, :, None] + noise).astype(np.uint8)
    picture[20:44, 2 * number : 2 * number + 24] = (230, 60, 40)
    return picture
