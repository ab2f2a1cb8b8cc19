"""What every reader can do."""

from __future__ import annotations

from typing import Protocol

from vtcli.errors import VideoError
from vtcli.video.picture import Picture
from vtcli.video.probe import VideoInfo
from vtcli.video.sampling import FramePlan

SAME_TIME = 1e-3  # seconds; decoders hand packet times on unchanged but for rounding


class UnfitError(VideoError):
    """A reader that would not show this file's frames at their times; the message begins with its name."""


class Reader(Protocol):
    """Gets the planned frames of a file, whatever library it decodes with."""

    name: str

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture] | None:
        """The pictures at the plan's indices, each uint8 (plan.height, plan.width, 3).

        None when one is missing or is not shown at the time `info.times` gives, so that the caller looks at what is
        really there. Raises VideoError where the file cannot be opened, UnfitError where PyAV is the one to read it.
        """
