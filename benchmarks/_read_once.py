"""Has one reader read one clip once, in a process of its own.

    python benchmarks/_read_once.py READER CLIP WIDTH HEIGHT FRAMES.json OUTPUT.npy

FRAMES.json lists the numbers of the wanted frames. Prints as JSON the wall and CPU seconds from before the file is
opened until the frames are there, in RGB at the requested size, and the peak memory of the process (MB). Libraries are
imported before. If a library cannot resize as the model needs, torch resizes its frames, in the fastest way available.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

if sys.argv[1:2] == ["vt"]:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the process that reads videos for vt

import numpy as np
from _torchvision import declare_operators

Read = Callable[[str, list[int], int, int], Any]  # → uint8 (N, height, width, 3)


def vt() -> Read:
    from dataclasses import replace

    from vtcli.video.probe import probe
    from vtcli.video.reader import read_frames
    from vtcli.video.sampling import FrameRequest, plan_frames

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        info = probe(path)
        request = FrameRequest(frames=len(wanted))
        plan = replace(plan_frames(info, request), indices=tuple(wanted), width=width, height=height)
        return read_frames(info, plan, request).pixels

    return read


def floor() -> Read:
    """Decodes, in one thread, only the packets that must be decoded; the clock runs only meanwhile."""
    from vtcli.video import index as _index  # noqa: F401
    from vtcli.video.container import open_video
    from vtcli.video.groups import plan_groups
    from vtcli.video.probe import probe
    from vtcli.video.readers.sparse import GroupDecoder

    class Timed(GroupDecoder):
        def _send(self, *arguments: Any, **options: Any) -> Any:
            begin = time.process_time()
            frames = super()._send(*arguments, **options)
            global _floor
            _floor += time.process_time() - begin
            return frames

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        info = probe(path)
        assert info.packets is not None
        with open_video(path) as (container, stream):
            stream.codec_context.thread_count = 1
            decoder = Timed(container, stream, info.packets)
            for group in plan_groups(info.packets, wanted) or []:
                for _ in decoder.frames(group):
                    pass
        return np.zeros(0, np.uint8)

    return read


_floor = 0.0


def straight() -> Read:
    import av
    from PIL import Image

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        found = {}
        with av.open(path) as container:
            stream = container.streams.best("video")
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                    found[number] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
                    if len(found) == len(set(wanted)):
                        break
        return np.stack([found[number] for number in wanted])

    return read


def decord(own_resize: bool) -> Read:
    import decord as library
    import torch

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        if own_resize:
            return library.VideoReader(path, width=width, height=height).get_batch(wanted).asnumpy()
        frames = torch.from_numpy(library.VideoReader(path).get_batch(wanted).asnumpy())
        return _resized(frames.permute(0, 3, 1, 2), width, height)

    return read


def torchcodec(mode: str) -> Read:
    from torchcodec.decoders import VideoDecoder

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        decoder = VideoDecoder(path, num_ffmpeg_threads=0, seek_mode=mode)
        return _resized(decoder.get_frames_at(wanted).data, width, height)

    return read


def _resized(frames: Any, width: int, height: int) -> Any:
    """Converts `frames`, a uint8 tensor (N, 3, any height, any width), to what the model sees."""
    import torch

    small = torch.nn.functional.interpolate(frames, (height, width), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1).numpy()


def qwen(backend: str) -> Read:
    """qwen-vl-utils chooses the frames itself, by the same formula as vt."""
    os.environ["FORCE_QWENVL_VIDEO_READER"] = backend
    declare_operators()
    from qwen_vl_utils import vision_process

    # If a backend fails, the library switches to another one and only logs that; here the run fails instead.
    only = vision_process.VIDEO_READER_BACKENDS[backend]
    for name in vision_process.VIDEO_READER_BACKENDS:
        vision_process.VIDEO_READER_BACKENDS[name] = only

    def read(path: str, wanted: list[int], width: int, height: int) -> Any:
        asked = {"video": path, "nframes": len(wanted), "resized_width": width, "resized_height": height}
        frames = vision_process.fetch_video(asked)
        return frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()

    return read


READERS: dict[str, Callable[[], Read]] = {
    "vt": vt,
    "floor": floor,
    "PyAV straight": straight,
    "decord": lambda: decord(own_resize=False),
    "decord, own resize": lambda: decord(own_resize=True),
    "torchcodec": lambda: torchcodec("exact"),
    "torchcodec approximate": lambda: torchcodec("approximate"),
    "qwen decord": lambda: qwen("decord"),
    "qwen torchcodec": lambda: qwen("torchcodec"),
    "qwen torchvision": lambda: qwen("torchvision"),
}


def peak() -> float:
    """Returns the peak memory so far, MB. (`ru_maxrss` would be that of the process that started this one.)"""
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024


def main(reader: str, path: str, width: str, height: str, frames: str, output: str) -> None:
    with open(frames) as file:
        wanted = json.load(file)
    read = READERS[reader]()
    wall, cpu = time.perf_counter(), time.process_time()
    pixels = read(path, wanted, int(width), int(height))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = peak()
    np.save(output, pixels)
    print(json.dumps({"wall": wall, "cpu": _floor or cpu, "peak": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
