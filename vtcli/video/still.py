"""Reads a picture file into the picture the model sees, for questions about pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vtcli.errors import VideoError
from vtcli.video.picture import Picture
from vtcli.video.readers.images import open_image, reason_of, rgb_of
from vtcli.video.sampling import smart_resize
from vtcli.video.text import shown


def read_still(path: str, min_pixels: int, max_pixels: int) -> Picture:
    """Returns uint8 (1, height, width, 3), resized as in qwen-vl-utils' `fetch_image`: with Pillow's bicubic.

    Unlike `fetch_image`, it rotates as the EXIF data say. Raises VideoError for a file that Pillow cannot read.
    """
    try:
        with open(path, "rb") as file, open_image(file) as image:
            rgb = Image.fromarray(rgb_of(image))
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly everything
        raise VideoError(f"{shown(path)} is no picture that can be read: {reason_of(error)}") from None
    height, width = smart_resize(rgb.height, rgb.width, min_pixels=min_pixels, max_pixels=max_pixels)
    return np.asarray(rgb.resize((width, height), Image.Resampling.BICUBIC))[None]
