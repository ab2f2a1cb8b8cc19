"""What a training recipe says: models, frames, data and the settings of each stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from vtcli.train.ranges import Above0, AtLeast0, AtLeast1, Below1, Finite, NotBelow0, Range

StageName = Literal["sft", "grpo"]
STAGES: tuple[StageName, ...] = ("sft", "grpo")
PICTURE_PIXELS = 401_408
"""Of a picture, as Video-R1's scripts have it."""


@dataclass(frozen=True)
class Frames:
    """Which frames of a video the model sees: `count` of them or `fps` a second, each of at most `max_pixels`.

    picture_pixels: the most a picture has, in a question about pictures.
    """

    count: AtLeast1 | None = 16
    fps: Above0 | None = None
    max_pixels: AtLeast1 = 128 * 28 * 28
    picture_pixels: AtLeast1 = PICTURE_PIXELS


@dataclass(frozen=True)
class Data:
    """What is trained on.

    files: JSON, JSONL or Parquet. roots: data_source → folder of its videos; "" for all others, by default the file's
    own folder. shapes: clips of moving shapes to make instead of files. held_out: records kept for evaluation.
    max_prompt_tokens: longer prompts are left out. check: "decode" reads every video's frames before training, "probe"
    only opens it. cache: keep the frames on disk. workers: processes that read videos.
    """

    files: tuple[str, ...] = ()
    roots: dict[str, str] = field(default_factory=dict)
    shapes: AtLeast0 = 0
    held_out: AtLeast0 = 100
    max_prompt_tokens: AtLeast1 = 16384
    check: Literal["decode", "probe"] = "decode"
    cache: bool = True
    workers: AtLeast0 = 2


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters in every linear layer of the text model, and of the vision tower where that is trained."""

    rank: AtLeast1 = 64
    alpha: AtLeast1 = 128
    dropout: Below1 = 0.0


@dataclass(frozen=True)
class Stage:
    """What SFT and GRPO have in common.

    batch: examples (SFT) or prompts (GRPO) a step, over all devices. per_device: of these at once on one device.
    max_steps: None for as many as `epochs` take. max_grad_norm: longer gradients are cut to it; 0 for none. optimizer:
    a name of transformers'. save_every, evaluate_every and log_every count steps. keep: checkpoints kept.
    """

    learning_rate: Above0
    batch: AtLeast1
    per_device: AtLeast1
    max_tokens: AtLeast1
    epochs: Above0 = 1.0
    max_steps: AtLeast1 | None = None
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: AtLeast0 = 0
    weight_decay: NotBelow0 = 0.0
    max_grad_norm: Annotated[float, Range(0, note="0: no limit")] = 1.0
    beta1: Below1 = 0.9
    beta2: Below1 = 0.999
    optimizer: str = "adamw_torch"
    gradient_checkpointing: bool = True
    log_every: AtLeast1 = 10
    save_every: AtLeast1 = 100
    keep: AtLeast1 = 2
    evaluate_every: AtLeast1 = 100


@dataclass(frozen=True)
class Sft(Stage):
    """Supervised fine-tuning; `max_tokens` bounds prompt and answer together."""


@dataclass(frozen=True)
class Grpo(Stage):
    """Group relative policy optimisation; `max_tokens` bounds a completion.

    group: completions a prompt. beta: weight of the KL term, 0 for none. rewards: name → weight; a name is one of
    `vtcli.train.rewards` or "module:function". share: compute each prompt and its video once for the whole group.
    epsilon: the ratio's clip range. iterations: updates on the same completions. scale_rewards: what an advantage,
    reward minus the group's mean, is divided by: the "group"'s deviation (GRPO, the paper's), that of the whole
    "batch", or nothing ("none", Dr. GRPO, arXiv 2503.20783). By the group's, completions that differ by a hair weigh
    as much as right ones beside wrong ones. rollouts: what draws completions, vt's own code or vLLM in the same
    process. captured: on a GPU that has all the weights a step of vt's own code for all completions is
    launched as one (CUDA graphs).
    """

    group: Annotated[int, Range(2, note="advantages compare completions")] = 8
    beta: NotBelow0 = 0.04
    temperature: Above0 = 1.0
    top_p: Annotated[float, Range(0, 1, above=True)] = 1.0
    rewards: dict[str, Finite] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    epsilon: Annotated[float, Range(0, 1, above=True, below=True)] = 0.2
    iterations: AtLeast1 = 1
    scale_rewards: Literal["group", "batch", "none"] = "group"
    share: bool = True
    rollouts: Literal["vt", "vllm"] = "vt"
    captured: bool = True

    def captures(self, kind: str, strategy: str) -> bool:
        """Whether steps of completions are captured on devices of `kind` with the model spread by `strategy`."""
        return self.captured and kind == "cuda" and strategy == "ddp"


@dataclass(frozen=True)
class Recipe:
    """One recipe. `prompt`: "video-thinker" is the paper's training layout, "ask" what `vt ask` asks.

    weights: what they are kept and updated in. compute: what matrices are multiplied in. attention: transformers' name,
    for SFT and the vision tower; that of GRPO's text is always vt's own. liger: compute norms and gated layers by
    Liger's kernels.
    """

    description: str
    model: str
    prompt: Literal["video-thinker", "video-r1", "ask"] = "video-thinker"
    seed: Annotated[int, Range(0, 2**32 - 1)] = 42
    weights: Literal["float32", "bfloat16"] = "float32"
    compute: Literal["float32", "bfloat16"] = "bfloat16"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    train_vision: bool = True
    liger: bool = False
    frames: Frames = Frames()
    data: Data = field(default_factory=Data)
    lora: Lora | None = None
    sft: Sft | None = None
    grpo: Grpo | None = None

    @property
    def stages(self) -> tuple[StageName, ...]:
        """Those there are, in their order."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: StageName) -> Stage:
        """The settings of one of `stages`."""
        stage = self.sft if name == "sft" else self.grpo
        assert stage is not None
        return stage

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in the YAML file."""
        values: dict[str, Any] = _plain(asdict(self))
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
