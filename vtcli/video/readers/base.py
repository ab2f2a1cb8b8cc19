"""The interface that every reader implements."""

from __future__ import annotations

from typing import Protocol

from vtcli.errors import VideoError
from vtcli.video.picture import Picture
from vtcli.video.probe import VideoInfo
from vtcli.video.sampling import FramePlan

SAME_TIME = 1e-3  # seconds; decoders pass packet times on unchanged except for rounding


class UnfitError(VideoError):
    """The reader would not show this file's frames at their times; the message begins with the reader's name."""


class Reader(Protocol):
    """Extracts the planned frames of a file, with any decoding library."""

    name: str

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture] | None:
        """Returns the pictures at the plan's indices, each uint8 (plan.height, plan.width, 3).

        Returns None if a picture is missing or is not shown at its time in `info.times`; the caller then finds out
        which frames exist. Raises VideoError if the file cannot be opened, UnfitError if PyAV has to read it.
        """
