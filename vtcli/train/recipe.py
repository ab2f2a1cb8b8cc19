"""Training recipes: YAML files packaged with vt or the user's own, checked key by key before anything is loaded."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vtcli.errors import UsageError

StageName = Literal["sft", "grpo"]
STAGES: tuple[StageName, ...] = ("sft", "grpo")
PICTURE_PIXELS = 401_408
"""Of a picture, as Video-R1's scripts have it."""
_PACKAGED = files("vtcli.train") / "recipes"


@dataclass(frozen=True)
class Frames:
    """Which frames of a video the model sees: `count` of them or `fps` a second, each of at most `max_pixels`.

    picture_pixels: the most a picture has, in a question about pictures.
    """

    count: int | None = 16
    fps: float | None = None
    max_pixels: int = 128 * 28 * 28
    picture_pixels: int = PICTURE_PIXELS


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
    shapes: int = 0
    held_out: int = 100
    max_prompt_tokens: int = 16384
    check: Literal["decode", "probe"] = "decode"
    cache: bool = True
    workers: int = 2


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters in every linear layer of the text model, and of the vision tower where that is trained."""

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.0


@dataclass(frozen=True)
class Stage:
    """What SFT and GRPO have in common.

    batch: examples (SFT) or prompts (GRPO) a step, over all devices. per_device: of these at once on one device.
    max_steps: None for as many as `epochs` take. max_grad_norm: longer gradients are cut to it; 0 for none. optimizer:
    a name of transformers'. save_every, evaluate_every and log_every count steps. keep: checkpoints kept.
    """

    learning_rate: float
    batch: int
    per_device: int
    max_tokens: int
    epochs: float = 1.0
    max_steps: int | None = None
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    optimizer: str = "adamw_torch"
    gradient_checkpointing: bool = True
    log_every: int = 10
    save_every: int = 100
    keep: int = 2
    evaluate_every: int = 100


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

    group: int = 8
    beta: float = 0.04
    temperature: float = 1.0
    top_p: float = 1.0
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    epsilon: float = 0.2
    iterations: int = 1
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
    seed: int = 42
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


def packaged() -> dict[str, str]:
    """Name → description of the recipes that come with vt."""
    return {name: str(_parse(text, name).get("description", "")) for name, text in _texts().items()}


def recipe_text(name: str) -> str:
    """The YAML of a packaged recipe, comments and all, or of a file. Raises UsageError for a name that is neither."""
    path = Path(name).expanduser()
    if name.endswith((".yaml", ".yml")):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"{name} cannot be read: {error}") from error
    texts = _texts()
    if name not in texts:
        raise UsageError(
            f"no such recipe: {name}{_nearest(name, list(texts))} (there are: {', '.join(texts)}; or give a .yaml file)"
        )
    return texts[name]


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe `name`, packaged or a YAML file, with `changes` ("grpo.beta=0.1") made to it.

    Raises UsageError for a key there is not, with the nearest one, and for values of the wrong kind.
    """
    values = _parse(recipe_text(name), name)
    for change in changes:
        _change(values, change)
    recipe = recipe_of(values)
    _check(recipe)
    return recipe


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """`values`, as `Recipe.as_json` gives them, as a recipe; what is not told is at its default. Raises UsageError."""
    recipe: Recipe = _build(Recipe, values, "")
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """The recipe's values as YAML, without comments."""
    import yaml

    return str(yaml.safe_dump(recipe.as_json(), sort_keys=False, allow_unicode=True))


def _texts() -> dict[str, str]:
    found = {entry.name.removesuffix(".yaml"): entry for entry in _PACKAGED.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def _parse(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UsageError(f"{name} is not YAML{line}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{name} holds no recipe: it must be keys with values")
    return values


def _change(values: dict[str, Any], change: str) -> None:
    import yaml

    key, equals, text = change.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {change}: write KEY=VALUE, such as --set grpo.beta=0.1")
    *path, last = key.strip().split(".")
    owner: type[Any] = Recipe
    for name in path:
        owner = _section(owner, name, key)
        values = values.setdefault(name, {}) if values.get(name) is not None else _renewed(values, name)
        if not isinstance(values, dict):
            raise UsageError(f"--set {change}: {name} is no section of a recipe")
        if owner is dict:
            break
    if owner is not dict:
        _known(owner, last, key)
    else:  # keys of roots and rewards may hold dots of their own
        last = ".".join([*path[path.index(name) + 1 :], last])
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {change}: the value is not YAML") from error


def _renewed(values: dict[str, Any], name: str) -> dict[str, Any]:
    values[name] = {}
    section: dict[str, Any] = values[name]
    return section


def _section(owner: type[Any], name: str, key: str) -> type[Any]:
    """The class of section `name`; dict for roots and rewards."""
    kind = _known(owner, name, key)
    for choice in _choices(kind):
        if isinstance(choice, type) and is_dataclass(choice):
            return choice
        if get_origin(choice) is dict:
            return dict
    raise UsageError(f"{key}: {name} is a value, not a section")


def _known(owner: type[Any], name: str, where: str) -> Any:
    kinds = get_type_hints(owner)
    if name not in kinds:
        raise UsageError(f"no such key in a recipe: {where}{_nearest(name, list(kinds))}")
    return kinds[name]


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _build(kind: type[Any], values: Any, where: str) -> Any:
    """`values` as the dataclass `kind`, each converted to what the field holds."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{where.rstrip('.')}: a section with keys is wanted, not {values!r}")
    kinds = get_type_hints(kind)
    made = {name: _convert(value, _known(kind, str(name), f"{where}{name}"), f"{where}{name}")
            for name, value in values.items()}  # fmt: skip
    for each in fields(kind):
        if each.name not in made and each.default is MISSING and each.default_factory is MISSING:
            raise UsageError(f"the recipe lacks {where}{each.name} ({kinds[each.name]})")
    return kind(**made)


def _convert(value: Any, kind: Any, where: str) -> Any:
    choices = _choices(kind)
    if value is None:
        if type(None) in choices:
            return None
        raise UsageError(f"{where}: a value is needed")
    for choice in choices:
        if is_dataclass(choice):
            return _build(choice, value, f"{where}.")  # type: ignore[arg-type]
        if get_origin(choice) is Literal:
            if value in get_args(choice):
                return value
            raise UsageError(f"{where}: {value!r} is none of {', '.join(map(str, get_args(choice)))}")
        if get_origin(choice) is tuple:
            items = [value] if isinstance(value, str) else value
            if isinstance(items, list) and all(isinstance(item, str) for item in items):
                return tuple(items)
        if get_origin(choice) is dict and isinstance(value, Mapping):
            inner = get_args(choice)[1]
            return {str(key): _convert(item, inner, f"{where}.{key}") for key, item in value.items()}
        if choice is bool and isinstance(value, bool):
            return value
        if choice is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if choice is float and not isinstance(value, bool) and (number := _number(value)) is not None:
            return number
        if choice is str and isinstance(value, str):
            return value
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices if choice is not type(None))
    raise UsageError(f"{where}: {value!r} is no {names}")


def _number(value: Any) -> float | None:
    """YAML 1.1 reads 1e-5 as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _check(recipe: Recipe) -> None:
    """UsageError for values that fit their field and mean nothing."""
    if (recipe.frames.count is None) == (recipe.frames.fps is None):
        raise UsageError("frames: give one of count and fps, and null for the other")
    if recipe.sft is None and recipe.grpo is None:
        raise UsageError("the recipe has no stage: it needs sft, grpo or both")
    _check_finite(recipe.as_json(), "")
    data, lora = recipe.data, recipe.lora
    if not 0 <= recipe.seed < 2**32 or min(data.workers, data.held_out, data.shapes) < 0 or data.max_prompt_tokens < 1:
        raise UsageError("seed, data.workers, data.held_out and data.shapes: 0 or more; data.max_prompt_tokens: 1 up")
    if lora is not None and (lora.rank < 1 or lora.alpha < 1 or not 0 <= lora.dropout < 1):
        raise UsageError("lora: rank and alpha 1 or more, dropout 0 or more and below 1")
    for name in recipe.stages:
        stage = recipe.stage(name)
        if min(stage.weight_decay, stage.max_grad_norm, stage.warmup_steps) < 0:
            raise UsageError(f"{name}: weight_decay, max_grad_norm (0: no limit) and warmup_steps: 0 or more")
        if not 0 <= stage.beta1 < 1 or not 0 <= stage.beta2 < 1:
            raise UsageError(f"{name}: beta1 and beta2 0 or more and below 1")
        for key in ("batch", "per_device", "max_tokens", "log_every", "save_every", "evaluate_every", "keep"):
            if getattr(stage, key) < 1:
                raise UsageError(f"{name}.{key} must be 1 or more, not {getattr(stage, key)}")
        if stage.max_steps is not None and stage.max_steps < 1:
            raise UsageError(f"{name}.max_steps must be 1 or more, or null")
        if not stage.learning_rate > 0 or not stage.epochs > 0:
            raise UsageError(f"{name}: learning_rate and epochs must be above 0")
        if stage.batch % stage.per_device:
            raise UsageError(f"{name}.batch {stage.batch} is no multiple of {name}.per_device {stage.per_device}")
    grpo = recipe.grpo
    if grpo is not None:
        if grpo.group < 2:
            raise UsageError(f"grpo.group must be 2 or more, not {grpo.group}: advantages compare completions")
        if not grpo.temperature > 0 or not 0 < grpo.top_p <= 1 or grpo.beta < 0 or grpo.iterations < 1:
            raise UsageError("grpo: temperature above 0, top_p above 0 and at most 1, beta 0 or more, iterations 1 up")
        if not grpo.rewards:
            raise UsageError("grpo.rewards is empty: give at least one reward with its weight")
        if not 0 < grpo.epsilon < 1:
            raise UsageError(f"grpo.epsilon must be above 0 and below 1, not {grpo.epsilon:g}")
        if grpo.save_every % grpo.iterations:  # a run that goes on would draw anew for half of the updates
            fits = max(1, grpo.save_every // grpo.iterations) * grpo.iterations
            raise UsageError(
                f"grpo.save_every {grpo.save_every} is no multiple of grpo.iterations {grpo.iterations}: "
                f"--set grpo.save_every={fits}"
            )


def _check_finite(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        none = "; 0 sets no limit" if where.endswith("max_grad_norm") else ""
        raise UsageError(f"{where}: {value} is no number to train with{none}")
    if isinstance(value, dict):
        for key, each in value.items():
            _check_finite(each, f"{where}.{key}" if where else key)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
