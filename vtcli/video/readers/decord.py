"""The reader of decord 0.6: what the Qwen family was trained and evaluated with.

decord seeks by key frame and counts frames from there; of the frame it hands over it does not tell the time. Where
counting goes wrong it shows other frames under the right times: one off from the second group on where groups of
pictures are open (x265's default), any frame of MPEG streams. Hence it is used only where counting must be right.
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

# A share of all frames; where one cannot be decoded, decord would give the one before instead and say nothing.
_NO_SUBSTITUTES = 1e-9


class DecordReader:
    """Decodes with decord and resizes as the others do, one frame in memory at a time."""

    name = "decord"

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture]:
        """As `Reader.pictures`. Raises VtError where the library does not load."""
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
                if rgb.shape[2:] != (3,):  # of pictures narrower than 32 pixels it makes others
                    raise UnfitError("decord does not get pictures this narrow right")
                pictures[index] = fit(rgb, 0, plan.width, plan.height)  # it turns them itself
        except UnfitError:
            raise
        except Exception as error:  # its own kinds, and Python's where it meets what it did not expect
            reason = _reason(error, path)
            if "cannot find video stream" in reason:
                reason = f"it has no decoder for {info.codec}"
            raise UnfitError(f"decord fails ({reason})") from None
        return pictures


def _check_times(starts: Picture, info: VideoInfo) -> None:
    if len(starts) != info.frames:
        raise UnfitError(f"decord counts {len(starts)} frames, {info.frames} are shown")
    off = np.abs(starts - starts[0] - np.asarray(info.times)).max()
    if not off <= SAME_TIME + np.spacing(np.float32(info.times[-1])):  # it keeps times in float32
        raise UnfitError("decord has the frames at other times")


def _reason(error: BaseException, path: str = "") -> str:
    """The first line of the message without where it comes from: time, source file, the video's own path."""
    line = first_line(error).replace(f"[{path}]", "")
    line = re.sub(r"^(?:\[[0-9:]+\] \S+:[0-9]+: |Check failed: .*? vs\. \S+\) |Error: |Thread worker: )+", "", line)
    return " ".join(line.split()).rstrip(".").lower()
