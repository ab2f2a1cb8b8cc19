"""The reader for decord 0.6, which the Qwen family was trained and evaluated with.

decord seeks to a keyframe and counts frames from there; it does not report the time of the frame it returns. Where the
count is wrong, it shows other frames under the right times: frames one off from the second group on where groups of
pictures are open (x265's default), any frame in MPEG streams. So it is used only where the count must be right.
"""

from __future__ import annotations

import re

import numpy as np

from vtcli.errors import VtError, first_line
from vtcli.video.picture import Picture, fit
from vtcli.video.probe import VideoInfo
from vtcli.video.pulse import beat
from vtcli.video.readers.base import SAME_TIME, UnfitError
from vtcli.video.readers.outside import is_closed, packets_of, seekable_file
from vtcli.video.sampling import FramePlan

# Share of all frames that may fail to decode: decord would silently return the previous frame instead.
_NO_SUBSTITUTES = 1e-9


class DecordReader:
    """Decodes with decord and resizes like the other readers, with one frame in memory at a time."""

    name = "decord"

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture]:
        """Like `Reader.pictures`. Raises VtError if the library does not load."""
        path = seekable_file(info, self.name, chooses_streams=False)
        if not is_closed(packets_of(info, self.name)):
            raise UnfitError("decord shows neighbouring frames where groups of pictures are open")
        beat()
        try:
            import decord
        except (ImportError, OSError, RuntimeError) as error:
            raise VtError(f"--reader decord: the library does not load ({_reason(error)}); use --reader pyav") from None
        decord.logging.set_level(decord.logging.QUIET)
        try:
            video = decord.VideoReader(path, fault_tol=_NO_SUBSTITUTES)
            _check_times(video.get_frame_timestamp(range(len(video)))[:, 0], info)
            pictures = {}
            for index in sorted(set(plan.indices)):
                beat()
                rgb = video[index].asnumpy()
                if rgb.shape[2:] != (3,):  # pictures narrower than 32 pixels come out wrong
                    raise UnfitError("decord does not get pictures this narrow right")
                pictures[index] = fit(rgb, 0, plan.width, plan.height)  # decord rotates them itself
        except UnfitError:
            raise
        except Exception as error:  # decord's own kinds, and Python's in unexpected cases
            reason = _reason(error, path)
            if "cannot find video stream" in reason:
                reason = f"it has no decoder for {info.codec}"
            raise UnfitError(f"decord fails ({reason})") from None
        return pictures


def _check_times(starts: Picture, info: VideoInfo) -> None:
    if len(starts) != info.frames:
        raise UnfitError(f"decord counts {len(starts)} frames, {info.frames} are shown")
    off = np.abs(starts - starts[0] - np.asarray(info.times)).max()
    if not off <= SAME_TIME + np.spacing(np.float32(info.times[-1])):  # decord keeps times in float32
        raise UnfitError("decord has the frames at other times")


def _reason(error: BaseException, path: str = "") -> str:
    """Returns the first line of the message without its origin: time, source file, the video's own path."""
    line = first_line(error).replace(f"[{path}]", "")
    line = re.sub(r"^(?:\[[0-9:]+\] \S+:[0-9]+: |Check failed: .*? vs\. \S+\) |Error: |Thread worker: )+", "", line)
    return " ".join(line.split()).rstrip(".").lower()
