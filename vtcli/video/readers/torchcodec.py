"""The reader for torchcodec: PyTorch's own library, on top of the machine's installed FFmpeg."""

from __future__ import annotations

import re

from vtcli.errors import VtError, first_line
from vtcli.video.picture import Picture, fit
from vtcli.video.probe import VideoInfo
from vtcli.video.pulse import beat
from vtcli.video.readers.base import SAME_TIME, UnfitError
from vtcli.video.readers.outside import packets_of, seekable_file
from vtcli.video.sampling import FramePlan


class TorchcodecReader:
    """Decodes with torchcodec and resizes like the other readers, with one frame in memory at a time."""

    name = "torchcodec"

    def pictures(self, info: VideoInfo, plan: FramePlan) -> dict[int, Picture]:
        """Like `Reader.pictures`. Raises VtError if the library does not load."""
        path = seekable_file(info, self.name, chooses_streams=True)
        packets_of(info, self.name)
        beat()
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            raise VtError(
                f"--reader torchcodec: the library does not load ({_reason(error)}); it needs the shared libraries of "
                "FFmpeg 4 to 8 and a torch that goes with it; or use --reader pyav"
            ) from None
        try:
            video = VideoDecoder(path, stream_index=info.stream, dimension_order="NHWC", num_ffmpeg_threads=0)
            if len(video) != info.frames:
                raise UnfitError(f"torchcodec counts {len(video)} frames, {info.frames} are shown")
            turned = round(video.metadata.rotation or 0)  # torchcodec rotates as the header says
            zero = video.metadata.begin_stream_seconds
            pictures = {}
            for index in sorted(set(plan.indices)):
                beat()
                frame = video.get_frame_at(index)
                if abs(frame.pts_seconds - zero - info.times[index]) > SAME_TIME:
                    raise UnfitError("torchcodec shows frames of other times")
                pictures[index] = fit(frame.data.numpy(), info.rotation - turned, plan.width, plan.height)
        except UnfitError:
            raise
        except Exception as error:  # torchcodec raises RuntimeError, ValueError and torch's own kinds
            raise UnfitError(f"torchcodec fails ({_reason(error)})") from None
        return pictures


def _reason(error: BaseException) -> str:
    """Returns the first line of the message without the position in torchcodec's source."""
    line = first_line(error)
    return " ".join(re.sub(r"^.*\.cpp:[0-9]+, ", "", line).split()).rstrip(".").lower()
