"""Runs the model's own weights in batches of equal clips behind one shared system prompt.

The stock forward computes the (long, constant) system prompt for every row and attends frame by frame in a Python loop.
Here the prompt is computed once per step, with gradients, and all frames at once; tests check that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vtcli.models.checkpoint import CLIP_MEAN, CLIP_STD
from vtcli.train.tiny.data import CELLS, GROUPS, VIDEO_TOKENS

PATCHES = 4 * CELLS
"""Vision patches per pair of frames."""
_MEAN = torch.tensor(CLIP_MEAN)[:, None]
_STD = torch.tensor(CLIP_STD)[:, None]


@dataclass(frozen=True)
class Hidden:
    """Outputs of the text model: `last` (B, L, d) over the text's tokens; `early`, the video tokens of early layers."""

    last: Tensor
    early: tuple[Tensor, ...]


def patches(frames: Tensor) -> Tensor:
    """Converts uint8 frames (B, 16, 112, 112, 3) to (B, 8, 64, 1176) in Qwen's patch order."""
    batch, _, height, width, _ = frames.shape
    h, w = height // 28, width // 28
    split = frames.view(batch, GROUPS, 2, h, 2, 14, w, 2, 14, 3)
    # (b, group, frame, row, subrow, y, column, subcolumn, x, channel): patches by merged cell, channels first inside
    raw = split.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8).reshape(batch, GROUPS, PATCHES, 3, 392)
    return raw.float().sub_(255 * _MEAN).mul_(1 / (255 * _STD)).flatten(-2)


class SharedForward:
    """Runs a `Qwen2_5_VLForConditionalGeneration` whose clips all have 8 pairs of 112 x 112 frames."""

    def __init__(self, model: Any) -> None:
        self.visual, self.text = model.model.visual, model.model.language_model
        self.embedding: Tensor = model.model.language_model.embed_tokens.weight
        config = model.config.get_text_config()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head = config.hidden_size // self.heads
        rope = getattr(config, "rope_parameters", None) or config.rope_scaling
        self.sections: list[int] = rope["mrope_section"]
        theta = rope.get("rope_theta") or config.rope_theta
        self.frequencies = 1.0 / theta ** (torch.arange(0, self.head, 2) / self.head)
        vision = model.config.vision_config
        self.vision_heads = vision.num_heads
        self.vision_rope = _vision_rope(vision.hidden_size // vision.num_heads)

    def see(self, frames: Tensor) -> Tensor:
        """Maps uint8 frames (B, 16, 112, 112, 3) to video tokens (B, 128, d)."""
        visual = self.visual
        batch = frames.shape[0]
        x = F.linear(patches(frames), visual.patch_embed.proj.weight.flatten(1)).flatten(0, 1)
        cos, sin = self.vision_rope
        for block in visual.blocks:
            y = block.attn.qkv(_rms(x, block.norm1)).view(*x.shape[:2], 3, self.vision_heads, -1)
            q, k, v = y.permute(2, 0, 3, 1, 4).unbind(0)
            y = _attend(_rotate(q, cos, sin), _rotate(k, cos, sin), v)
            x = x + block.attn.proj(y.transpose(1, 2).flatten(2))
            x = x + block.mlp(_rms(x, block.norm2))
        merger = visual.merger
        x = _rms(x, merger.ln_q).reshape(batch, VIDEO_TOKENS, -1)
        return cast(Tensor, merger.mlp(x))

    def read(self, prefix: Tensor, video: Tensor | None, steps: Tensor | None, ids: Tensor) -> Hidden:
        """Runs the text model on a prompt, a video and the text after it.

        prefix: token ids before the video (P,). video: the video tokens, with their temporal `steps` (B, 8). ids: those
        after it (B, L).
        """
        batch, length, start = ids.shape[0], ids.shape[1], len(prefix)
        rows = [F.embedding(ids, self.embedding)]
        after = torch.full((batch, 1), start)
        positions = []
        if video is not None and steps is not None:
            rows.insert(0, video)
            positions.append(_video_positions(steps, start))
            after = positions[0].amax(dim=(0, 2))[:, None] + 1
        positions.append((after + torch.arange(length)).expand(3, -1, -1))
        x, ahead = torch.cat(rows, 1), F.embedding(prefix, self.embedding)[None]
        main = self._rope(torch.cat(positions, 2))
        front = self._rope(torch.arange(start).expand(3, 1, -1))
        mask = torch.full((start + x.shape[1],) * 2, float("-inf")).triu(1)
        early = []
        for number, layer in enumerate(self.text.layers):
            q, k, v = self._qkv(layer, x, main)
            attention = layer.self_attn
            if start:
                pq, pk, pv = self._qkv(layer, ahead, front)
                k = torch.cat([pk.expand(batch, -1, -1, -1), k], 2)
                v = torch.cat([pv.expand(batch, -1, -1, -1), v], 2)
                y = _attend(pq, pk, pv, mask[:start, :start])
                ahead = ahead + attention.o_proj(y.transpose(1, 2).flatten(2))
                ahead = ahead + layer.mlp(_rms(ahead, layer.post_attention_layernorm))
            y = _attend(q, k, v, mask[start:])
            x = x + attention.o_proj(y.transpose(1, 2).flatten(2))
            x = x + layer.mlp(_rms(x, layer.post_attention_layernorm))
            if video is not None and number < 2:
                early.append(x[:, :VIDEO_TOKENS])
        last = x if video is None else x[:, VIDEO_TOKENS:]
        return Hidden(_rms(last, self.text.norm), tuple(early))

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits; the output layer is the embedding."""
        return F.linear(hidden, self.embedding)

    def _qkv(self, layer: Any, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        attention, y = layer.self_attn, _rms(x, layer.input_layernorm)
        shape = (*x.shape[:2], -1, self.head)
        q = _rotate(attention.q_proj(y).view(shape).transpose(1, 2), *rope)
        k = _rotate(attention.k_proj(y).view(shape).transpose(1, 2), *rope)
        v = attention.v_proj(y).view(shape).transpose(1, 2)
        copies = self.heads // self.kv_heads
        return q, k.repeat_interleave(copies, 1), v.repeat_interleave(copies, 1)

    def _rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns cosines and sines (B, 1, L, head) of positions (3, B, L); each axis has its section of channels."""
        angles = positions[..., None].float() * self.frequencies
        parts = [axis for axis in angles.split(self.sections, -1)]
        joined = torch.cat([part[i] for i, part in enumerate(parts)], -1)
        full = torch.cat([joined, joined], -1)[:, None]
        return full.cos(), full.sin()


def _video_positions(steps: Tensor, start: int) -> Tensor:
    side = int(CELLS**0.5)
    batch = steps.shape[0]
    t = steps[:, :, None].expand(-1, -1, CELLS).reshape(batch, -1)
    h = torch.arange(side).repeat_interleave(side).repeat(GROUPS).expand(batch, -1)
    w = torch.arange(side).repeat(side * GROUPS).expand(batch, -1)
    return torch.stack([t, h, w]) + start


def _vision_rope(head: int) -> tuple[Tensor, Tensor]:
    """Returns cosines and sines (64, head) of the patches of one pair of frames, in merge-block order."""
    side = int(PATCHES**0.5)
    order = torch.arange(side * side).view(side // 2, 2, side // 2, 2).permute(0, 2, 1, 3).flatten()
    frequencies = 1.0 / 10000 ** (torch.arange(0, head // 2, 2) / (head // 2))
    angles = torch.cat([(order // side)[:, None] * frequencies, (order % side)[:, None] * frequencies], -1)
    full = torch.cat([angles, angles], -1)
    return full.cos(), full.sin()


def _rms(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight.to(x.dtype), norm.variance_epsilon)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Plain attention: at these lengths two matrix products are twice as fast as a fused CPU kernel, backward too."""
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        attended: Tensor = scores.softmax(-1) @ v
        return attended


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin
