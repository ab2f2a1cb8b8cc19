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
from vtcli.engines import vision, windows
from vtcli.engines.device import Placement
from vtcli.engines.loading import load_model
from vtcli.engines.vision import quicken, see
from vtcli.models.checkpoint import open_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

STEPS, HEIGHT, WIDTH = GRID


@pytest.fixture(scope="module")
def towers(random_checkpoint: Path) -> tuple[Any, Any]:
    """The library's and ours, of the same weights."""
    models = [load_model(open_checkpoint(random_checkpoint), Placement("cpu", "float32"))[0] for _ in range(2)]
    usual, ours = (model.model.visual for model in models)
    quicken(ours)
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
    torch.testing.assert_close(ours.patch_embed(patches()), usual.patch_embed(patches()), atol=1e-4, rtol=1e-4)


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


@pytest.mark.parametrize("grids", [[GRID], [(2, 16, 16)], [(3, 10, 22), GRID]])
def test_windows_of_a_size_are_seen_together(
    towers: tuple[Any, Any], grids: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As devices other than processors do it: windows of one size, of four, of two clips; gradients too."""
    monkeypatch.setattr(windows, "ONE_BY_ONE", ())
    calls, found = list[int](), dict[Any, Any]()
    attend = torch.nn.functional.scaled_dot_product_attention

    def counted(query: Any, *of: Any, **named: Any) -> Any:
        calls.append(len(query))
        return attend(query, *of, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    with torch.inference_mode(False), torch.enable_grad():
        usual, ours = (copy.deepcopy(tower) for tower in towers)
        assert ours.blocks[0].attn.forward.args[0] is ours.blocks[0].attn
        dice = torch.Generator().manual_seed(1)
        given = torch.randn(sum(t * h * w for t, h, w in grids), 3 * 2 * 14 * 14, generator=dice)
        for tower in (usual, ours):
            calls.clear()
            seen = tower(given, grid_thw=torch.tensor(grids)).pooler_output
            seen.square().sum().backward()
            found[tower] = seen.detach(), [weight.grad for weight in tower.parameters()], list(calls)
    torch.testing.assert_close(found[ours][0], found[usual][0], atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(found[ours][1], found[usual][1], strict=True):
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm()
    assert len(found[ours][2]) <= 4 * len(ours.blocks) < len(found[usual][2])


def test_how_long_windows_are_is_asked_once_a_clip(towers: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ONE_BY_ONE", ())
    asked = list[Any]()
    built = windows._Windows
    monkeypatch.setattr(windows, "_Windows", lambda *of: asked.append(of) or built(*of))
    see(towers[1], patches().numpy(), np.array([GRID]))
    assert len(asked) == 2  # for windowed blocks and for those that see whole frames
