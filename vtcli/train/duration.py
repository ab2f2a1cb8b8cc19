"""Estimates the time of a stage from its operations and the memory it moves, at the pace measured on this device.

Not counted: padding, sampling's own work, time that processes wait for each other, and reading videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from vtcli.models.checkpoint import Checkpoint
from vtcli.train.evaluate import AT_ONCE
from vtcli.train.operations import Operations, Size, causal
from vtcli.train.pace import Pace, product_bytes
from vtcli.train.plan import Devices, steps, trained_parameters, weight_bytes
from vtcli.train.recipe import Grpo, Recipe, Stage, StageName
from vtcli.train.rewards import NEED_SHUFFLED

if TYPE_CHECKING:
    from vtcli.train.check import Checked


def spell(seconds: float) -> str:
    """Formats a duration in a fitting unit: `40 s`, `12 min`, `8.5 h`."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Planned:
    """The plan of a stage: its `steps`, and its `memory` in bytes on each device.

    seconds: by part, and in `total`, at `pace`. reply: tokens per GRPO completion that `seconds` assume, the average of
    the records' replies. longest: the total if all completions are as long as they may be. steps: optimizer steps.
    """

    steps: int
    memory: dict[str, int]
    pace: Pace
    seconds: dict[str, float]
    reply: int | None = None
    longest: float | None = None


def planned(
    checkpoint: Checkpoint,
    recipe: Recipe,
    name: StageName,
    checked: Checked,
    memory: dict[str, int],
    on: Devices,
    pace: Pace,
) -> Planned:
    """Plans a stage; `memory` comes from `plan.memory`."""
    stage = recipe.stage(name)
    train, held_out = checked.train_sizes, checked.held_out_sizes
    count, reply = steps(stage, len(train)), mean_reply(recipe, train)
    seconds = estimate(checkpoint, recipe, name, count, train, held_out, on, pace, reply)
    if name == "sft":
        return Planned(count, memory, pace, seconds)
    most = estimate(checkpoint, recipe, name, count, train, held_out, on, pace, longest_reply(recipe))
    return Planned(count, memory, pace, seconds, reply, most["total"])


def mean_reply(recipe: Recipe, train: Sequence[Size]) -> int:
    """Returns the average tokens of the records' replies, at most those that a completion may have."""
    mean = round(sum(size.reply for size in train) / len(train))
    return max(1, min(mean, longest_reply(recipe)))


def longest_reply(recipe: Recipe) -> int:
    """Returns the most tokens that a completion, or a reply to a held-out question, may have."""
    return recipe.grpo.max_tokens if recipe.grpo else 1024


def estimate(
    checkpoint: Checkpoint,
    recipe: Recipe,
    name: StageName,
    count: int,
    train: Sequence[Size],
    held_out: Sequence[Size],
    on: Devices,
    pace: Pace,
    reply: int,
) -> dict[str, float]:
    """Estimates the seconds of `passes`, `update` and `evaluation`, in GRPO also of `completions`, and their `total`.

    count: steps. train, held_out: the records' sizes. reply: tokens per completion.
    """
    stage = recipe.stage(name)
    counted = _Counted(checkpoint, recipe, stage, pace, on.kind)
    each = [counted.record(size, reply) for size in train]
    parts = {"passes": count * stage.batch / on.count * sum(each) / len(each)}
    if isinstance(stage, Grpo):
        captured = stage.captures(on.kind, on.strategy)
        drawn = _Counted(checkpoint, recipe, stage, replace(pace, step=0.0), on.kind) if captured else counted
        parts["completions"] = count / stage.iterations * drawn.group(train, stage.batch / on.count, stage, reply)
    trained, (_, width) = trained_parameters(checkpoint, recipe), weight_bytes(recipe, on)
    states = 2 * (1 if "8bit" in stage.optimizer else width)
    moved = trained * (3 * width + 2 * states)  # reads weight, gradient and states; writes weight and states
    parts["update"] = count * moved / on.spread / pace.bytes
    times = 1 + count // stage.evaluate_every + (count % stage.evaluate_every > 0)
    own = ceil(len(held_out) / on.count)
    turns = ceil(own / AT_ONCE)
    parts["evaluation"] = times * turns * counted.drawing(held_out, own / turns, 1, reply) if held_out else 0.0
    return parts | {"total": sum(parts.values())}


def scored(kind: str, prompt: int, replies: int) -> int:
    """Tokens for which TRL's output layer computes logits: on a GPU only those of replies, on a CPU all."""
    return replies if kind == "cuda" else prompt + replies


class _Counted:
    """Computes the seconds of one stage's parts."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe, stage: Stage, pace: Pace, kind: str) -> None:
        self._of, self._pace, self._kind = Operations(checkpoint), pace, kind
        self._width = product_bytes(recipe)
        self._stage = stage
        self._back = 2 if recipe.lora is None else 1  # gradients of the inputs and, without adapters, of the weights
        self._again = 1 + stage.gradient_checkpointing
        self._vision = self._again + self._back if recipe.train_vision else 1

    def record(self, size: Size, reply: int) -> float:
        """Seconds of all passes over one record; in GRPO over the prompt and its completions."""
        of, stage = self._of, self._stage
        if not isinstance(stage, Grpo):
            tokens = size.prompt + size.reply
            head = of.head(scored(self._kind, size.prompt - 1, size.reply))
            return self._policy(of.layers(tokens), of.attention(tokens), head, of.vision(size.grids))
        prompts, before = 1 if stage.share else stage.group, size.prompt - 1
        layers = of.layers(prompts * before + stage.group * reply)
        attention = prompts * of.attention(before) + stage.group * of.attention(reply, before)
        head = of.head(scored(self._kind, prompts * before, stage.group * reply))
        vision = prompts * of.vision(size.grids)
        others = (stage.beta > 0) + (stage.iterations > 1)  # the reference, and the policy before its updates
        return self._policy(layers, attention, head, vision) + others / stage.iterations * self._seconds(
            layers + attention, head, vision
        )

    def _policy(self, layers: int, attention: int, head: int, vision: int) -> float:
        """Seconds of a forward and backward pass, from the operations of one forward pass.

        Attention always has two gradients.
        """
        text = self._again * (layers + attention) + self._back * layers + 2 * attention
        return self._seconds(text, (1 + self._back) * head, self._vision * vision)

    def _seconds(self, text: int, head: int, vision: int) -> float:
        return text / self._pace.layers + head / self._pace.head + vision / self._pace.vision

    def group(self, sizes: Sequence[Size], prompts: float, stage: Grpo, reply: int) -> float:
        """Seconds of drawing the completions of `prompts` prompts, averaged over `sizes`."""
        copies = [stage.group]
        if any(name in NEED_SHUFFLED for name in stage.rewards):
            copies.append(max(1, stage.group // 2))
        return sum(self.drawing(sizes, prompts, count, reply, stage.share) for count in copies)

    def drawing(self, sizes: Sequence[Size], prompts: float, copies: int, reply: int, share: bool = True) -> float:
        """Seconds of prefilling `prompts` prompts and drawing `copies` replies to each, all in one batch.

        A decode step takes as long as the slowest of three: the products of all rows, reading the weights once, and
        `Pace.step`. The time to read the KV cache is added.
        """
        of, prompt = self._of, sum(size.prompt for size in sizes) / len(sizes)
        read = sum(
            self._seconds(of.layers(s.prompt) + of.attention(s.prompt), 0, of.vision(s.grids)) for s in sizes
        ) / len(sizes)  # fmt: skip
        drawn = self._seconds(of.layers(reply - 1) + of.attention(reply - 1, round(prompt)), of.head(reply - 1), 0)
        kept = prompt * (reply - 1) * (1 if share else copies) + copies * causal(reply - 1)
        weights, rest = (
            values * self._width / self._pace.bytes for values in ((reply - 1) * of.weights, kept * of.kept)
        )
        steps = max(prompts * copies * drawn, weights, (reply - 1) * self._pace.step)
        return prompts * (1 if share else copies) * read + steps + prompts * rest
