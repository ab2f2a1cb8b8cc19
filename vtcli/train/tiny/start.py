"""How the weights begin: at random, but for the first text layer, whose heads begin by looking back a fixed way."""

from __future__ import annotations

from typing import Any

import torch

from vtcli.train.tiny.forward import SharedForward

CHANNELS = 8
"""Rotary frequencies used, the fastest: slower ones hardly tell one token from the next."""
STRENGTH = 5.0


@torch.no_grad()
def look_back(model: Any) -> None:
    """Sets the query and key biases of the first text layer so that head i attends to the token i + 1 before.

    Copying (a prompt's options, a caption) needs to know which tokens came before each token, and a model this small
    takes thousands of batches to find that out: from random biases, random tokens told twice were copied at 8 % after
    400 batches; from these at 93 % after 200. Rotary positions make it a matter of two constant vectors: q = R(-d) k
    scores highest at distance d, whatever the tokens are.
    """
    shape = SharedForward(model)
    attention = model.model.language_model.layers[0].self_attn
    fast, half = shape.frequencies[:CHANNELS], shape.head // 2
    keys = attention.k_proj.bias.view(shape.kv_heads, shape.head)
    queries = attention.q_proj.bias.view(shape.heads, shape.head)
    keys[:, :CHANNELS] = STRENGTH
    for head in range(shape.heads):
        turn = (head + 1) * fast
        queries[head, :CHANNELS] = STRENGTH * torch.cos(turn)
        queries[head, half : half + CHANNELS] = -STRENGTH * torch.sin(turn)
