"""The contents of a training recipe: models, frames, data and the settings of each stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from vtcli.train.ranges import Above0, AtLeast0, AtLeast1, Below1, Finite, NotBelow0, Range

StageName = Literal["sft", "grpo"]
STAGES: tuple[StageName, ...] = ("sft", "grpo")
PICTURE_PIXELS = 401_408
"""Most pixels of a picture, from Video-R1's scripts."""


@dataclass(frozen=True)
class Frames:
    """Which frames of a video the model sees: `count` of them or `fps` per second, each of at most `max_pixels`.

    picture_pixels: the most pixels of a picture, in a question about pictures.
    """

    count: AtLeast1 | None = 16
    fps: Above0 | None = None
    max_pixels: AtLeast1 = 128 * 28 * 28
    picture_pixels: AtLeast1 = PICTURE_PIXELS


@dataclass(frozen=True)
class Data:
    """The training data.

    files: JSON, JSONL or Parquet. roots: data_source → folder of its videos; "" for all others, by default the file's
    own folder. shapes: number of clips of moving shapes to make instead of reading files. held_out: records kept for
    evaluation. max_prompt_tokens: records with longer prompts cannot be used. check: "decode" reads every video's
    frames before training, "probe" only opens it. cache: keep the frames on disk. workers: processes that read videos.
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
    """Low-rank adapters in every linear layer of the text model, and of the vision tower if it is trained."""

    rank: AtLeast1 = 64
    alpha: AtLeast1 = 128
    dropout: Below1 = 0.0


@dataclass(frozen=True)
class Stage:
    """The settings that SFT and GRPO share.

    batch: examples (SFT) or prompts (GRPO) per step, over all devices. per_device: how many of these one device
    computes at once. max_steps: None for as many as `epochs` take. max_grad_norm: longer gradients are clipped to it; 0
    for no limit. optimizer: one of transformers' names. save_every, evaluate_every, log_every: in steps. keep:
    checkpoints kept.
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
    """Supervised fine-tuning; `max_tokens` limits prompt and answer together."""


@dataclass(frozen=True)
class Grpo(Stage):
    """Group relative policy optimisation; `max_tokens` limits a completion.

    group: completions per prompt. beta: weight of the KL term, 0 for none. rewards: name → weight; a name is one of
    `vtcli.train.rewards` or "module:function". share: compute each prompt and its video once for the whole group.
    epsilon: clip range of the probability ratio. iterations: updates with the same completions.

    scale_rewards: what an advantage, the reward minus the group's mean, is divided by: the standard deviation of the
    "group" (GRPO, as in the paper), that of the whole "batch", or nothing ("none", Dr. GRPO, arXiv 2503.20783). With
    "group", completions that differ by a hair weigh as much as right ones beside wrong ones.

    rollouts: what draws completions, vt's own code or vLLM in the same process. captured: on a GPU that holds all the
    weights, launch a decode step of vt's own code, for all completions, as one (CUDA graphs).
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
        """Whether decode steps are captured on devices of `kind` with the model spread by `strategy`."""
        return self.captured and kind == "cuda" and strategy == "ddp"


@dataclass(frozen=True)
class Recipe:
    """One recipe.

    prompt: "video-thinker" is the paper's training layout, "ask" is that of `vt ask`. weights: dtype in which weights
    are kept and updated. compute: dtype of matrix products. attention: transformers' name, for SFT and the vision
    tower; GRPO's text model always uses vt's own. liger: compute norms and gated layers with Liger's kernels.
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
        """The stages of this recipe, in order."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: StageName) -> Stage:
        """The settings of one of `stages`."""
        stage = self.sft if name == "sft" else self.grpo
        assert stage is not None
        return stage

    def as_json(self) -> dict[str, Any]:
        """Returns plain values, as in the YAML file."""
        values: dict[str, Any] = _plain(asdict(self))
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
