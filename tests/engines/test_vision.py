"""The vision tower as the engine runs it, against the library's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.asking import GRID
from vtcli.engines import vision
from vtcli.engines.device import Placement
from vtcli.engines.loading import load_model
from vtcli.models.checkpoint import open_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

STEPS, HEIGHT, WIDTH = GRID


@pytest.fixture(scope="module")
def towers(random_checkpoint: Path) -> tuple[Any, Any]:
    """The library's and ours, of the same weights."""
    models = [load_model(open_checkpoint(random_checkpoint), Placement("cpu", "float32"))[0] for _ in range(2)]
    usual, ours = (model.model.visual for model in models)
    vision.speed_up(ours)
    return usual, ours


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def patches() -> Any:
    return torch.randn(STEPS * HEIGHT * WIDTH, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))


def test_the_embedding_of_patches_is_a_product(towers: tuple[Any, Any]) -> None:
    usual, ours = towers
    assert "forward" in vars(ours.patch_embed.proj) and "forward" not in vars(usual.patch_embed.proj)
    torch.testing.assert_close(ours.patch_embed(patches()), usual.patch_embed(patches()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ends", [[96], [64, 96], [64, 80, 92, 96], [32, 64, 96]])
def test_windows_of_one_size_stand_together(towers: tuple[Any, Any], ends: list[int]) -> None:
    dice = torch.Generator().manual_seed(1)
    hidden = torch.randn(96, 64, generator=dice)
    angles = 7 * torch.rand(96, 16, generator=dice)
    given = {"cu_seqlens": torch.tensor([0, *ends]), "position_embeddings": (angles.cos(), angles.sin())}
    usual, ours = (tower.blocks[0].attn for tower in towers)
    torch.testing.assert_close(ours(hidden, **given), usual(hidden, **given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2 * HEIGHT * WIDTH, 3 * HEIGHT * WIDTH, 10**6])
def test_pairs_of_frames_go_through_by_themselves(
    towers: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    usual, ours = towers
    output = usual(patches(), grid_thw=torch.tensor([GRID]))
    monkeypatch.setattr(vision, "_ROWS", rows)
    torch.testing.assert_close(vision.encode(ours, patches(), GRID), output.pooler_output, atol=1e-4, rtol=1e-4)
