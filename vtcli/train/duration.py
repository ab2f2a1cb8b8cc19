"""What a stage takes of time at least: its operations and the memory it moves, at the rates this device was seen to do.

Lower bounds: nothing is waited for, no padding is computed, and videos come from the disk in no time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vtcli.engines.device import VALUE_BYTES
from vtcli.models.checkpoint import Checkpoint
from vtcli.train.evaluate import AT_ONCE
from vtcli.train.operations import Operations, Size, causal
from vtcli.train.plan import Devices, steps, trained_parameters
from vtcli.train.recipe import Grpo, Recipe, Stage, StageName
from vtcli.train.rewards import NEED_SHUFFLED

if TYPE_CHECKING:
    from vtcli.train.check import Checked

_LONG = 0.02
"""Seconds a measured product must take, for its start not to count."""
_REPEATS, _MOST = 5, 16384
_COPIED = {"cpu": (2**22, 2**28), "cuda": (2**22, 2**30)}
"""Least and most bytes of what is copied."""


@dataclass(frozen=True)
class Rate:
    """What one device does in a second: floating-point `operations` of a matrix product, `bytes` read or written."""

    operations: float
    bytes: float


def spell(seconds: float) -> str:
    """A span of time in its unit: `40 s`, `12 min`, `8.5 h`."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Planned:
    """What a stage takes: optimizer `steps`; bytes of `memory` on each device, and `seconds` at least, by part and in
    `total`, at `rate`.

    reply: tokens of a completion in GRPO, as `seconds` count them: of the records' replies on average. longest: the
    total where all are as long as they may be.
    """

    steps: int
    memory: dict[str, int]
    rate: Rate
    seconds: dict[str, float]
    reply: int | None = None
    longest: float | None = None


def measure(kind: str, recipe: Recipe, weights: int) -> Rate:
    """Times a square product in the precision `recipe` computes in and a copy of `weights` bytes, on "cuda" or "cpu".

    Some tenths of a second. The best of several is taken: what else the device does is not the run's.
    """
    import torch

    dtype = getattr(torch, min(recipe.weights, recipe.compute, key=VALUE_BYTES.__getitem__))
    side, seconds = 256, 0.0
    while seconds < _LONG and side < _MOST:
        side *= 2
        one, made = (torch.ones(side, side, dtype=dtype, device=kind) for _ in range(2))
        seconds = _best(lambda: torch.mm(one, one, out=made), kind)  # noqa: B023  # called at once
    low, high = _COPIED[kind]
    count = min(max(weights, low), high)
    source = torch.ones(count, dtype=torch.uint8, device=kind)
    target = torch.empty_like(source)
    rate = Rate(2 * side**3 / seconds, 2 * count / _best(lambda: target.copy_(source), kind))
    if kind == "cuda":
        del one, made, source, target
        torch.cuda.empty_cache()
    return rate


def _best(act: Callable[[], Any], kind: str) -> float:
    """Seconds of the fastest of some calls, the first not counted."""
    import torch

    times = []
    for _ in range(_REPEATS + 1):
        begun = perf_counter()
        act()
        if kind == "cuda":
            torch.cuda.synchronize()
        times.append(perf_counter() - begun)
    return min(times[1:])


def planned(
    checkpoint: Checkpoint,
    recipe: Recipe,
    name: StageName,
    checked: Checked,
    memory: dict[str, int],
    on: Devices,
    rate: Rate,
) -> Planned:
    """A stage's plan, with `memory` as of `plan.memory`."""
    stage = recipe.stage(name)
    train, held_out = checked.train_sizes, checked.held_out_sizes
    count, reply = steps(stage, len(train)), mean_reply(recipe, train)
    seconds = least(checkpoint, recipe, name, count, train, held_out, on, rate, reply)
    if name == "sft":
        return Planned(count, memory, rate, seconds)
    most = least(checkpoint, recipe, name, count, train, held_out, on, rate, longest_reply(recipe))
    return Planned(count, memory, rate, seconds, reply, most["total"])


def weight_bytes(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Bytes that drawing a token reads of the model at least."""
    return Operations(checkpoint).weights * _width(recipe)


def mean_reply(recipe: Recipe, train: Sequence[Size]) -> int:
    """Tokens of a completion if it is as long as the records' replies are on average, at most what is allowed."""
    mean = round(sum(size.reply for size in train) / len(train))
    return max(1, min(mean, longest_reply(recipe)))


def longest_reply(recipe: Recipe) -> int:
    """Tokens that a completion may have, and a reply to a held-out question."""
    return recipe.grpo.max_tokens if recipe.grpo else 1024


def least(
    checkpoint: Checkpoint,
    recipe: Recipe,
    name: StageName,
    count: int,
    train: Sequence[Size],
    held_out: Sequence[Size],
    on: Devices,
    rate: Rate,
    reply: int,
) -> dict[str, float]:
    """Seconds of `passes`, in GRPO of drawing `completions`, of `update` and `evaluation`, and their `total`.

    count: steps. train, held_out: the records' sizes. reply: tokens of a completion.
    """
    stage = recipe.stage(name)
    counted = _Counted(checkpoint, recipe, stage, rate)
    each = [counted.record(size, reply) for size in train]
    operations = count * stage.batch / on.count * sum(each) / len(each)
    parts = {"passes": operations / rate.operations}
    if isinstance(stage, Grpo):
        parts["completions"] = count / stage.iterations * counted.group(train, stage.batch / on.count, stage, reply)
    trained, width = trained_parameters(checkpoint, recipe)
    states = 2 * (1 if "8bit" in stage.optimizer else width)
    moved = trained * (3 * width + 2 * states)  # weight, gradient and states read, weight and states written
    parts["update"] = count * moved / (on.count if on.sharded else 1) / rate.bytes
    times = 1 + count // stage.evaluate_every + (count % stage.evaluate_every > 0)
    own = len(held_out) / on.count
    parts["evaluation"] = times * own / AT_ONCE * counted.drawing(held_out, AT_ONCE, 1, reply) if held_out else 0.0
    return parts | {"total": sum(parts.values())}


class _Counted:
    """Operations and seconds of one stage's parts."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe, stage: Stage, rate: Rate) -> None:
        self._of, self._rate = Operations(checkpoint), rate
        self._width = _width(recipe)
        self._stage = stage
        self._back = 2 if recipe.lora is None else 1  # gradients of what went in, and of the weights
        self._again = 1 + stage.gradient_checkpointing
        self._vision = self._again + self._back if recipe.train_vision else 1

    def record(self, size: Size, reply: int) -> float:
        """Operations of all passes over one record, those of a prompt's completions included."""
        of, stage = self._of, self._stage
        if not isinstance(stage, Grpo):
            tokens = size.prompt + size.reply
            return self._policy(of.layers(tokens), of.attention(tokens), of.head(size.reply), of.vision(size.grids))
        prompts, before = 1 if stage.share else stage.group, size.prompt - 1
        layers = of.layers(prompts * before + stage.group * reply)
        attention = prompts * of.attention(before) + stage.group * of.attention(reply, before)
        head, vision = stage.group * of.head(reply), prompts * of.vision(size.grids)
        others = (stage.beta > 0) + (stage.iterations > 1)  # the reference's, and the policy's before its updates
        return self._policy(layers, attention, head, vision) + others / stage.iterations * (
            layers + attention + head + vision
        )

    def _policy(self, layers: int, attention: int, head: int, vision: int) -> float:
        """Operations of a pass there and back, from those of one there. Attention has two gradients, trained or not."""
        text = self._again * (layers + attention) + self._back * layers + 2 * attention
        return text + (1 + self._back) * head + self._vision * vision

    def group(self, sizes: Sequence[Size], prompts: float, stage: Grpo, reply: int) -> float:
        """Seconds of drawing the completions of `prompts` prompts, on average over `sizes`."""
        copies = [stage.group]
        if any(name in NEED_SHUFFLED for name in stage.rewards):
            copies.append(max(1, stage.group // 2))
        return sum(self.drawing(sizes, prompts, count, reply, stage.share) for count in copies)

    def drawing(self, sizes: Sequence[Size], prompts: float, copies: int, reply: int, share: bool = True) -> float:
        """Seconds of reading `prompts` prompts and drawing `copies` replies to each, all together.

        A step either waits for the weights and what is kept of tokens, each read once, or for the products.
        """
        of, prompt = self._of, sum(size.prompt for size in sizes) / len(sizes)
        read = sum(of.vision(s.grids) + of.layers(s.prompt) + of.attention(s.prompt) for s in sizes) / len(sizes)
        drawn = copies * (of.layers(reply - 1) + of.attention(reply - 1, round(prompt)) + of.head(reply - 1))
        kept = prompt * (reply - 1) * (1 if share else copies) + copies * causal(reply - 1)
        moved = (reply - 1) * of.weights + prompts * kept * of.kept
        first = prompts * (1 if share else copies) * read / self._rate.operations
        return first + max(prompts * drawn / self._rate.operations, moved * self._width / self._rate.bytes)


def _width(recipe: Recipe) -> int:
    """Bytes of a value in a product; autocast keeps what it has made of a weight."""
    return min(VALUE_BYTES[recipe.weights], VALUE_BYTES[recipe.compute])
