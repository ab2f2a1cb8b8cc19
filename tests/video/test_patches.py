"""Patches against transformers: its own image processor, and its video processor's reshape written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vtcli.video.patches import patchify

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TOLERANCE = 2.4e-7  # one unit in the last place at the largest value


def noise(frames: int, height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def video_processor(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`Qwen2VLVideoProcessor._preprocess` of transformers 5.23 (Apache-2.0), without its resize and batch axis."""
    torch = pytest.importorskip("torch")
    videos = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    factor = 1.0 / (1 / 255)
    mean, std = (torch.tensor(v)[:, None, None] * factor for v in (MEAN, STD))
    videos = (videos - mean) / std
    if len(videos) % 2:
        videos = torch.cat((videos, videos[-1:]))
    frames, channels, height, width = videos.shape
    videos = videos.view(frames // 2, 2, channels, height // 28, 2, 14, width // 28, 2, 14)
    videos = videos.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return np.asarray(videos.reshape(-1, channels * 2 * 14 * 14))


@pytest.mark.parametrize(("frames", "height", "width"), [(16, 56, 84), (2, 28, 28), (5, 84, 56), (1, 28, 56)])
def test_as_the_video_processor(frames: int, height: int, width: int) -> None:
    pixels = noise(frames, height, width)
    patches, grid = patchify(pixels, MEAN, STD)
    assert grid == (-(-frames // 2), height // 14, width // 14)
    assert patches.shape == (np.prod(grid), 1176)
    assert patches.dtype == np.float32
    assert np.abs(patches - video_processor(pixels)).max() <= TOLERANCE


def test_as_the_image_processor() -> None:
    """The numpy processor of transformers has kept the arithmetic of the paper's: equal to the bit."""
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    pixels = noise(1, 56, 112)
    processor = module.Qwen2VLImageProcessorPil(do_resize=False)
    expected = processor(images=pixels[0], return_tensors="np", input_data_format="channels_last")
    patches, grid = patchify(np.repeat(pixels, 2, axis=0), MEAN, STD)
    assert np.array_equal(patches, expected["pixel_values"])
    assert [list(grid)] == expected["image_grid_thw"].tolist()


def test_every_level() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(28 * 28 * 3).reshape(256, 28, 28, 3)
    patches, _ = patchify(pixels, MEAN, STD, temporal_patch_size=1)
    found = patches.reshape(256, 4, 3, -1)[:, 0, :, 0]
    exact = (np.arange(256)[:, None] / 255 - np.array(MEAN)) / np.array(STD)
    assert np.abs(found - exact).max() < 3e-7


def test_other_sizes() -> None:
    patches, grid = patchify(noise(3, 32, 64), MEAN, STD, patch_size=8, temporal_patch_size=1, merge_size=4)
    assert grid == (3, 4, 8)
    assert patches.shape == (96, 3 * 64)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="multiples of 28"):
        patchify(noise(2, 28, 42), MEAN, STD)
