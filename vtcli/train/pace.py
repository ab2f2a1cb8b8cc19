"""Measures how fast a device computes what a run will.

Times a model with one layer, one vision block and a slice of the vocabulary, in the widths of the model to train and
with random weights, on sizes of the run's own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

from vtcli.engines.device import VALUE_BYTES
from vtcli.engines.vision import quicken
from vtcli.models.checkpoint import Checkpoint
from vtcli.train.evaluate import AT_ONCE
from vtcli.train.operations import Grid, Operations, Size
from vtcli.train.plan import Devices
from vtcli.train.recipe import Grpo, Recipe, Stage, StageName

_REPEATS, _SECONDS = 5, 2.0
"""How often a part is timed at most, and how long it is repeated."""
_WORDS = 16384
_TOKENS = {"cpu": 512, "cuda": 8192}
"""Most tokens of a pass; matrix products get no faster with more."""
_COPIED = {"cpu": (2**22, 2**28), "cuda": (2**22, 2**30)}
"""Least and most bytes to copy."""


@dataclass(frozen=True)
class Pace:
    """How fast one device is.

    layers, head, vision: floating-point operations per second of the text model's layers, of the output layer and of
    the vision tower, forward and backward. bytes: read or written per second by a copy. step: seconds of a decode step,
    for all rows at once, with every kernel launched on its own, without reading the KV cache.
    """

    layers: float
    head: float
    vision: float
    bytes: float
    step: float


def product_bytes(recipe: Recipe) -> int:
    """Returns the bytes of a value in a matrix product; autocast caches the weights it has rounded."""
    return min(VALUE_BYTES[recipe.weights], VALUE_BYTES[recipe.compute])


def measure(
    on: Devices, checkpoint: Checkpoint, recipe: Recipe, stages: Sequence[StageName], sizes: Sequence[Size]
) -> dict[StageName, Pace]:
    """Measures the pace of one of these devices in each stage over records of `sizes`: per part the median of runs.

    Takes seconds, and less memory than training a layer. Leaves the caller's random state as it was.
    """
    import torch

    thin = _thin(checkpoint)
    with torch.random.fork_rng(), torch.device(on.kind):
        torch.manual_seed(0)
        parts = _Parts(_model(thin, recipe), on.kind, recipe)
    copied = parts.copied(Operations(checkpoint).weights * product_bytes(recipe))
    found = {name: _pace(parts, on, checkpoint, thin, recipe, recipe.stage(name), sizes, copied) for name in stages}
    del parts
    gc.collect()  # a model has reference cycles
    if on.kind == "cuda":
        torch.cuda.empty_cache()
    return found


def _pace(
    parts: _Parts,
    on: Devices,
    checkpoint: Checkpoint,
    thin: Checkpoint,
    recipe: Recipe,
    stage: Stage,
    sizes: Sequence[Size],
    copied: float,
) -> Pace:
    size = sorted(sizes, key=lambda each: each.prompt + each.reply)[len(sizes) // 2]
    copies, most = stage.group if isinstance(stage, Grpo) else 1, _TOKENS[on.kind]
    tokens = min(size.prompt + copies * size.reply, most)
    rows = max(1, min(stage.per_device, most // tokens))
    replies = max(1, min(stage.per_device * copies * size.reply, most))
    of, passes = Operations(thin), 2 + (recipe.lora is None)  # forward, backward to inputs, backward to weights
    text = rows * (passes * of.layers(tokens) + 3 * of.attention(tokens))
    layers = text / parts.seconds(lambda: parts.text(rows, tokens))
    head = passes * of.head(replies) / parts.seconds(lambda: parts.scores(replies))
    vision = layers
    if size.grids:
        seen = (3 if recipe.train_vision else 1) * of.vision(size.grids)
        vision = seen / parts.seconds(lambda: parts.vision(size.grids))
    return Pace(layers, head, vision, copied, _step(parts, on, checkpoint, thin, stage))


def _step(parts: _Parts, on: Devices, checkpoint: Checkpoint, thin: Checkpoint, stage: Stage) -> float:
    """Measures `Pace.step`."""
    import torch

    rows = stage.batch // on.count * stage.group if isinstance(stage, Grpo) else AT_ONCE
    with torch.no_grad():
        text, head = parts.seconds(lambda: parts.text(rows, 1)), parts.seconds(lambda: parts.head(rows))
        around = parts.seconds(lambda: parts.text(rows, 1, layers=0))
    layers = int(checkpoint.text_config["num_hidden_layers"]) * max(0.0, text - around)
    return around + layers + head * _words(checkpoint) / _words(thin)


def _words(checkpoint: Checkpoint) -> int:
    return int(checkpoint.text_config["vocab_size"])


def _thin(checkpoint: Checkpoint) -> Checkpoint:
    """Returns a checkpoint with the same widths, but one layer, one vision block and a smaller vocabulary."""
    text = {"num_hidden_layers": 1, "layer_types": ["full_attention"], "vocab_size": min(_words(checkpoint), _WORDS)}
    text |= {"bos_token_id": None, "eos_token_id": None}
    vision = {"depth": 1, "fullatt_block_indexes": []}
    return replace(
        checkpoint,
        text_config={**checkpoint.text_config, **text},
        vision_config={**checkpoint.vision_config, **vision},
    )


def _model(thin: Checkpoint, recipe: Recipe) -> Any:
    """Builds the model of `thin` on the default device, with random weights; what is trained requires gradients."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config: Any = Qwen2_5_VLConfig(text_config=dict(thin.text_config), vision_config=dict(thin.vision_config))
    config._attn_implementation = recipe.attention
    model: Any = Qwen2_5_VLForConditionalGeneration(config).to(getattr(torch, recipe.weights))
    quicken(model.model.visual)
    model.requires_grad_(recipe.lora is None)
    model.model.visual.requires_grad_(recipe.train_vision)
    return model


class _Parts:
    """Runs parts of a model forward and, if gradients are on, backward."""

    def __init__(self, model: Any, kind: str, recipe: Recipe) -> None:
        import torch

        self._model, self._kind, self._layers = model, kind, model.model.language_model.layers
        self._half = recipe.compute == "bfloat16" and recipe.weights == "float32"
        self._hidden = model.config.text_config.hidden_size
        self._dtype = getattr(torch, recipe.weights)

    def text(self, rows: int, tokens: int, layers: int = 1) -> None:
        import torch

        self._model.model.language_model.layers = self._layers[:layers]
        given = self._random(rows, tokens, self._hidden)
        positions = torch.arange(tokens, device=self._kind).expand(3, rows, tokens)
        with self._precision():
            made = self._model.model.language_model(inputs_embeds=given, position_ids=positions, use_cache=False)
        self._back(made.last_hidden_state)

    def head(self, rows: int) -> None:
        with self._precision():
            self._model.lm_head(self._random(rows, self._hidden))

    def scores(self, rows: int) -> None:
        """Computes log-probabilities as TRL's trainers do."""
        import torch
        from trl.kernels import ChunkedLogProbFunction

        given, weight = self._random(rows, self._hidden), self._model.lm_head.weight
        wanted = torch.zeros(rows, dtype=torch.long, device=self._kind)
        with self._precision():
            made, *_ = ChunkedLogProbFunction.apply(
                given, weight, None, wanted, 1.0, len(weight), None, 1.0, ("log_probs",)
            )
        self._back(made)

    def vision(self, grids: Sequence[Grid]) -> None:
        import torch

        config = self._model.config.vision_config
        columns = 3 * config.temporal_patch_size * config.patch_size**2
        count = sum(frames * rows * wide for frames, rows, wide in grids)
        patches = torch.full((count, columns), 0.5, dtype=self._dtype, device=self._kind)
        with self._precision():
            made = self._model.model.visual(patches, grid_thw=torch.tensor(grids, device=self._kind))
        self._back(made.pooler_output)

    def copied(self, count: int) -> float:
        """Returns the bytes read and written per second by a copy of `count` bytes, kept within `_COPIED`."""
        import torch

        low, high = _COPIED[self._kind]
        count = min(max(count, low), high)
        source = torch.ones(count, dtype=torch.uint8, device=self._kind)
        target = torch.empty_like(source)
        return 2 * count / self.seconds(lambda: target.copy_(source))

    def seconds(self, act: Callable[[], Any]) -> float:
        """Returns the median seconds of some runs after a warm-up run."""
        import torch

        times: list[float] = []
        while len(times) < 2 or (len(times) <= _REPEATS and sum(times) < _SECONDS):
            begun = perf_counter()
            act()
            if self._kind == "cuda":
                torch.cuda.synchronize()
            times.append(perf_counter() - begun)
        return median(times[1:])

    def _random(self, *shape: int) -> Any:
        import torch

        return torch.full(shape, 0.5, dtype=self._dtype, device=self._kind, requires_grad=True)

    def _precision(self) -> Any:
        import torch

        return torch.autocast(self._kind, torch.bfloat16) if self._half else nullcontext()

    def _back(self, made: Any) -> None:
        if made.requires_grad:
            made.float().sum().backward()
