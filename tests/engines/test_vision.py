"""The vision tower as the engine runs it, against the library's own."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.asking import GRID
from vtcli.engines import vision
from vtcli.engines.device import Placement
from vtcli.engines.loading import load_model
from vtcli.engines.vision import multiply_patches, see
from vtcli.models.checkpoint import open_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

STEPS, HEIGHT, WIDTH = GRID


@pytest.fixture(scope="module")
def towers(random_checkpoint: Path) -> tuple[Any, Any]:
    """The library's and ours, of the same weights."""
    models = [load_model(open_checkpoint(random_checkpoint), Placement("cpu", "float32"))[0] for _ in range(2)]
    usual, ours = (model.model.visual for model in models)
    multiply_patches(ours)
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


def test_the_tower_sees_the_same(towers: tuple[Any, Any]) -> None:
    usual, ours = towers
    wanted = usual(patches(), grid_thw=torch.tensor([GRID])).pooler_output
    torch.testing.assert_close(see(ours, patches().numpy(), np.array([GRID])), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_rotating_in_parts_changes_no_bit(
    towers: tuple[Any, Any], precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several parts, the last of them smaller; and what the library has is put back."""
    tower, calls = copy.deepcopy(towers[0]).to(precision), list[Any]()
    library = sys.modules[type(tower).__module__]
    before = library.apply_rotary_pos_emb_vision
    monkeypatch.setattr(vision, "PART", 100)
    rotated = vision._rotated

    def counted(*of: Any) -> Any:
        calls.append(of)
        return rotated(*of)

    monkeypatch.setattr(vision, "_rotated", counted)
    seen = see(tower, patches().numpy(), np.array([GRID]))
    assert len(calls) == 2 * len(tower.blocks) and len(calls[0][0]) % 100
    assert torch.equal(seen, tower(patches().to(precision), grid_thw=torch.tensor([GRID])).pooler_output)
    assert library.apply_rotary_pos_emb_vision is before and len(calls) == 2 * len(tower.blocks)
