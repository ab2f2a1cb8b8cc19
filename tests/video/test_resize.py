"""Resizing against Pillow's floats, a channel at a time, which torchvision agrees with (`make parity` asks itself)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vtcli.video.picture import Picture
from vtcli.video.resize import resize

SIZES = [(224, 420), (97, 161), (64, 64), (720, 1280), (28, 28), (112, 28), (1000, 56)]


def picture(height: int, width: int) -> Picture:
    """Hard edges between the darkest and the brightest, where a sum overshoots, and noise."""
    dice = np.random.default_rng(height + width)
    blocks = dice.integers(0, 2, (height // 8 + 1, width // 8 + 1, 3)) * 255
    large = np.kron(blocks, np.ones((8, 8, 1), int))[:height, :width]
    return np.where(dice.random((height, width, 1)) < 0.2, dice.integers(0, 256, large.shape), large).astype(np.uint8)


def exact(rgb: Picture, height: int, width: int) -> Picture:
    channels = [
        Image.fromarray(rgb[..., c].astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        for c in range(3)
    ]
    return np.rint(np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize("old", SIZES)
@pytest.mark.parametrize("new", SIZES)
def test_every_level_is_the_exact_one_rounded(old: tuple[int, int], new: tuple[int, int]) -> None:
    rgb = picture(*old)
    off = np.abs(resize(rgb, *new).astype(int) - exact(rgb, *new))
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # where a sum ends on a half


def test_the_same_size_is_the_same_picture() -> None:
    rgb = picture(97, 161)
    assert (resize(rgb, 97, 161) == rgb).all()


def test_eight_bits_between_the_passes_would_not_do() -> None:
    """Why this is not Pillow's own resizing of RGB."""
    rgb = picture(720, 1280)
    quick = np.asarray(Image.fromarray(rgb).resize((420, 224), Image.Resampling.BICUBIC))
    assert np.abs(quick.astype(int) - exact(rgb, 224, 420)).max() > 2


def test_pictures_that_are_turned_or_mirrored_are_resized_alike() -> None:
    rgb = picture(97, 161)
    assert (resize(rgb[:, ::-1], 56, 84) == resize(rgb, 56, 84)[:, ::-1]).mean() > 0.999
    assert (resize(np.rot90(rgb), 84, 56) == np.rot90(resize(rgb, 56, 84))).mean() > 0.999
