"""Reads the frames that a model is trained on, the ones `vt ask` would show it, once and caches them on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vtcli.errors import VideoError
from vtcli.models.checkpoint import Checkpoint
from vtcli.train.recipe import PICTURE_PIXELS, Frames
from vtcli.video.guard import Guard
from vtcli.video.sampling import FramePlan, FrameRequest, plan_frames

VERSION = "1"
"""Version of the cached files; frames cached by another version are read again."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames uint8 (N, height, width, 3) and the seconds between pairs of them, or one picture and 0.

    warnings: from reading the file.
    """

    pixels: npt.NDArray[np.uint8]
    second_per_grid: float
    warnings: tuple[str, ...] = ()


def frame_request(frames: Frames, checkpoint: Checkpoint) -> FrameRequest:
    """Returns the frames to request of each video, within the checkpoint's limits."""
    low, high = checkpoint.frame_pixels(frames.max_pixels)
    return FrameRequest(frames=frames.count, fps=frames.fps, min_pixels=low, max_pixels=high)


def picture_pixels(frames: Frames, checkpoint: Checkpoint) -> tuple[int, int]:
    """Returns the least and most pixels of a picture, within the checkpoint's limits."""
    most = min(frames.picture_pixels, checkpoint.max_pixels)
    return min(checkpoint.min_pixels, most), most


class FrameStore:
    """Reads clips and caches them as safetensors files in `folder` (None: no cache), keyed by all they depend on.

    Processes can share the folder: files are written aside and moved into place. Each process, and each thread, needs a
    store of its own, because a child process does the reading (see `vtcli.video.guard`).
    """

    def __init__(
        self, request: FrameRequest, folder: Path | None, pixels: tuple[int, int] = (3136, PICTURE_PIXELS)
    ) -> None:
        self.request, self.folder, self.pixels = request, folder, pixels
        self._guard: Guard | None = None

    def clip(self, file: Path, is_picture: bool = False) -> Clip:
        """Returns the frames of the video in `file`, or the picture. Raises VideoError."""
        place = self._file(file, is_picture)
        if place is not None and (kept := _load(place)) is not None:
            return kept
        clip = self._read_picture(file) if is_picture else self._read(file)
        if place is not None:
            _save(clip, place)
        return clip

    def probe(self, video: Path) -> FramePlan:
        """Returns the plan of the frames to read from `video`, without reading them. Raises VideoError."""
        return plan_frames(self._reader().probe(video), self.request)

    def is_kept(self, file: Path, is_picture: bool = False) -> bool:
        """Whether the frames of the video in `file`, or the picture, are already in the cache."""
        try:
            place = self._file(file, is_picture)
        except VideoError:
            return True  # a missing file leaves nothing to cache
        return place is not None and place.is_file()

    def close(self) -> None:
        """Ends the child process."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def __getstate__(self) -> dict[str, Any]:  # data loader workers start a child of their own
        return self.__dict__ | {"_guard": None}

    def _reader(self) -> Guard:
        if self._guard is None:
            self._guard = Guard()
        return self._guard

    def _read(self, video: Path) -> Clip:
        guard = self._reader()
        info = guard.probe(video)
        plan = plan_frames(info, self.request)
        read = guard.read_frames(info, plan, self.request)
        return Clip(read.pixels, read.plan.second_per_grid, (*info.warnings, *read.plan.warnings, *read.warnings))

    def _read_picture(self, file: Path) -> Clip:
        still = self._reader().run(str(file), "vtcli.video.still:read_still", str(file), *self.pixels)
        return Clip(still, 0.0)

    def _file(self, file: Path, is_picture: bool) -> Path | None:
        if self.folder is None:
            return None
        try:
            state = file.stat()
        except (OSError, ValueError) as error:
            raise VideoError(f"no such file: {file}") from error
        asked = f"picture {self.pixels}" if is_picture else repr(self.request)
        told = [VERSION, str(file.absolute()), state.st_size, state.st_mtime_ns, asked]
        name = hashlib.sha256(json.dumps(told).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def _load(file: Path) -> Clip | None:
    """Loads a cached clip; None if there is none, or only a broken file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as kept:
            told = json.loads(kept.metadata()["clip"])
            pixels = kept.get_tensor("pixels")
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            return None
        return Clip(pixels, float(told["second_per_grid"]), tuple(map(str, told["warnings"])))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _save(clip: Clip, file: Path) -> None:
    """Caches a clip. If that fails (disk full), the clip is read again next time, and training goes on."""
    from safetensors.numpy import save

    told = json.dumps({"second_per_grid": clip.second_per_grid, "warnings": clip.warnings})
    data = save({"pixels": np.ascontiguousarray(clip.pixels)}, metadata={"clip": told})
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            Path(aside).replace(file)
        except OSError:
            Path(aside).unlink(missing_ok=True)
            raise
