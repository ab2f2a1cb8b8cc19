"""Open a checkpoint by name or path: collect what the rest of vt needs to know about it, without loading weights.

Both config.json layouts in use are supported: flat (`hidden_size`, `rope_scaling` at the top level; transformers 4) and
nested (`text_config`, `rope_parameters`; transformers 5). No code of the model is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError
from vtcli.models import catalogue, store
from vtcli.models.files import read_json
from vtcli.models.gguf import is_gguf
from vtcli.models.gguf_pair import Pair, find_pair
from vtcli.models.reference import Reference, parse
from vtcli.models.sizes import count_parameters
from vtcli.models.weights import Weights, find_weights
from vtcli.prompt import known_style

MODEL_TYPE = "qwen2_5_vl"
#: Pixels of a frame in the paper, 128 · 28 · 28: both the minimum and the maximum.
FRAME_PIXELS = 128 * 28 * 28
#: CLIP's values, used by every Qwen2.5-VL processor and here for training checkpoints saved without a processor.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_NO_PROJECTOR = "--mmproj goes with a GGUF file: {} is a checkpoint folder, which holds its own"
_FAMILY_PIXELS = (3136, 12845056)
OWN_FILE = "vtcli.json"
"""The file in folders made by vt for values that config.json has no place for: `prompt` and `scope`."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint of the Qwen2.5-VL family on this machine.

    - `config` is config.json as it is; `text_config` is the language model's part, in either layout. For a GGUF export,
      `config` holds the metadata under the names of config.json.
    - Means and deviations are for RGB in 0..1.
    - Sizes are in pixels (patch_size), patches (merge_size) and frames (temporal_patch_size).
    - min_pixels and max_pixels bound one frame.
    - `quant` is the type of most weights of a GGUF export, such as "Q4_K".
    - `scope` states the limits of a model that is not general-purpose.
    - `prompt` is the key in `vtcli.prompt.PROMPTS` of the prompt the model was trained with.
    """

    name: str
    path: Path
    revision: str | None
    config: Mapping[str, Any]
    text_config: Mapping[str, Any]
    vision_config: Mapping[str, Any]
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    tokens_per_second: float
    video_token_id: int
    eos_token_ids: tuple[int, ...]
    min_pixels: int
    max_pixels: int
    weights: Weights
    projector: Path | None = None
    quant: str | None = None
    scope: str = ""
    prompt: str = "video-thinker"

    @property
    def is_gguf(self) -> bool:
        """Whether llama.cpp runs it: `path` is a GGUF file and `projector` the GGUF file of its vision tower."""
        return self.projector is not None

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Returns (T, H, W) in patches of `frames` frames of `height` x `width` pixels."""
        return -(-frames // self.temporal_patch_size), height // self.patch_size, width // self.patch_size

    def frame_pixels(self, requested: int | None = None) -> tuple[int, int]:
        """Returns (min, max) pixels of one frame: the paper's or `requested`, at most the checkpoint's max_pixels."""
        largest = min(FRAME_PIXELS if requested is None else requested, self.max_pixels)
        return min(FRAME_PIXELS, largest), largest


def open_checkpoint(name: str | Path, weights: bool = True, projector: Path | None = None) -> Checkpoint:
    """Opens a checkpoint by name ("tiny", "OWNER/REPO", either with ":QUANT"), folder or GGUF file; reads its sizes.

    If several variants of a model are on this machine, the most exact is used. With `weights` False, a folder need not
    contain weights: the parameter count is computed from the configuration. `projector` is the GGUF file of the vision
    tower; by default it is searched beside the model's file. Raises ModelError, one line, for an unknown name, a folder
    without configuration or weights, incomplete or pickled weights, and any architecture other than Qwen2.5-VL.
    """
    path = Path(name).expanduser()
    reference = parse(str(name))
    if reference is not None and (reference.entry is not None or not path.exists()):
        return _installed(reference, weights, projector)
    if not path.exists():
        known = ", ".join(catalogue.entries()) or "none"
        raise ModelError(f"no such model: {name} (a folder, a .gguf file, OWNER/REPO of the hub, or one of: {known})")
    found = _at(path, str(name), weights, projector)
    entry = catalogue.entry_of(found.name)
    return replace(found, prompt=entry.prompt) if entry else found


def _installed(reference: Reference, weights: bool, projector: Path | None) -> Checkpoint:
    found = store.find(reference)
    if not found:
        raise ModelError(f"{reference.missing}: run vt pull {reference}")
    model = max(found, key=lambda one: (one.quant is None, one.bytes))
    entry = reference.entry or catalogue.entry_of(reference.repository or "")
    checkpoint = replace(_at(model.path, reference.text, weights, projector), name=str(model))
    if model.revision is not None:
        checkpoint = replace(checkpoint, revision=model.revision)
    return replace(checkpoint, scope=entry.scope, prompt=entry.prompt) if entry else checkpoint


def _at(path: Path, name: str, weights: bool, projector: Path | None) -> Checkpoint:
    if is_gguf(path) or (path.is_dir() and not (path / "config.json").exists() and any(path.glob("*.gguf"))):
        return _from_gguf(find_pair(path, projector))
    if not path.is_dir():
        raise ModelError(f"{path} is a file, but no GGUF file: give that or a model folder")
    if projector is not None:
        raise ModelError(_NO_PROJECTOR.format(name))
    return _read(*_identity(path), weights)


def planned_checkpoint(entry: catalogue.Entry) -> Checkpoint:
    """Returns a catalogue model that is not on this machine, for planning: sizes and parameter count, no files.

    Raises ModelError if the entry lacks its sizes.
    """
    return _build(entry.name, Path(entry.name), entry.revision, entry.config, {}, {}, False)


def _identity(path: Path) -> tuple[str, Path, str | None]:
    """Returns name, path and revision of a folder; the path of a Hugging Face snapshot contains name and revision."""
    real = path.resolve()
    if real.parent.name == "snapshots" and real.parents[1].name.startswith("models--"):
        return real.parents[1].name.removeprefix("models--").replace("--", "/"), path, real.name
    return real.name, path, None


def _read(name: str, path: Path, revision: str | None, weights: bool) -> Checkpoint:
    config = read_json(path / "config.json")
    if not config:
        raise ModelError(f"{path} is not a model folder (no config.json)")
    if config.get("model_type") != MODEL_TYPE:
        raise ModelError(
            f"{path} is a {config.get('model_type', 'nameless')} model: vt runs the Qwen2.5-VL family ({MODEL_TYPE})"
        )
    generation = read_json(path / "generation_config.json")
    found = _build(name, path, revision, config, _processor(path), generation, weights)
    own = read_json(path / OWN_FILE)
    scope = own.get("scope")
    return replace(found, prompt=known_style(own.get("prompt")), scope=scope if isinstance(scope, str) else "")


def _from_gguf(pair: Pair) -> Checkpoint:
    found = _build(pair.name, pair.text.path, pair.revision, pair.config, pair.processor, pair.generation, False)
    weights = Weights((pair.text.path, pair.projector.path), pair.parameters, pair.bytes)
    found = replace(found, weights=weights, projector=pair.projector.path, quant=pair.quant)
    return replace(found, scope=pair.scope, prompt=pair.prompt)


def _build(
    name: str,
    path: Path,
    revision: str | None,
    config: Mapping[str, Any],
    processor: Mapping[str, Any],
    generation: Mapping[str, Any],
    weights: bool,
) -> Checkpoint:
    text = _section(config, "text_config") or config
    vision = _section(config, "vision_config")
    _check_sizes(path, vision, processor)
    size = _section(processor, "size")
    low, high = _FAMILY_PIXELS
    try:
        for section, key in ((text, "num_attention_heads"), (vision, "num_heads")):
            if key in section:
                _at_least(1, key, section[key])
        return Checkpoint(
            name=name,
            path=path,
            revision=revision,
            config=config,
            text_config=text,
            vision_config=vision,
            image_mean=_triple(processor.get("image_mean", CLIP_MEAN)),
            image_std=_triple(processor.get("image_std", CLIP_STD)),
            patch_size=_at_least(1, "patch_size", vision.get("patch_size", 14)),
            temporal_patch_size=_at_least(1, "temporal_patch_size", vision.get("temporal_patch_size", 2)),
            merge_size=_at_least(1, "spatial_merge_size", vision.get("spatial_merge_size", 2)),
            # 4: the library's default; the 7B has 2
            tokens_per_second=_positive("tokens_per_second", vision.get("tokens_per_second", 4)),
            video_token_id=_at_least(0, "video_token_id", config.get("video_token_id", 151656)),
            eos_token_ids=_eos(generation, config, text),
            min_pixels=_at_least(1, "min_pixels", processor.get("min_pixels") or size.get("shortest_edge") or low),
            max_pixels=_at_least(1, "max_pixels", processor.get("max_pixels") or size.get("longest_edge") or high),
            weights=find_weights(path) if weights else Weights((), count_parameters(config, text, vision), 0),
        )
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ModelError(f"{path} has a configuration that cannot be read: {error}") from error


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _processor(path: Path) -> Mapping[str, Any]:
    """Returns the video processor's values, from the newest of the three places where releases have stored them."""
    return (
        _section(read_json(path / "processor_config.json"), "video_processor")
        or read_json(path / "video_preprocessor_config.json")
        or read_json(path / "preprocessor_config.json")
    )


_SIZES = {"patch_size": "patch_size", "temporal_patch_size": "temporal_patch_size", "merge_size": "spatial_merge_size"}


def _check_sizes(path: Path, vision: Mapping[str, Any], processor: Mapping[str, Any]) -> None:
    """Raises ModelError if the processor's patch sizes differ from the vision tower's."""
    for ours, theirs in _SIZES.items():
        cut, made = processor.get(ours), vision.get(theirs)
        if cut is not None and made is not None and cut != made:
            raise ModelError(
                f"{path} contradicts itself: its processor has {ours} {cut}, its vision tower {theirs} {made}"
            )


def _at_least(least: int, name: str, value: Any) -> int:
    number = int(value)
    if number < least:
        raise ValueError(f"{name} is {value}")
    return number


def _positive(name: str, value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {value}")
    return number


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _eos(*sources: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the ids that end a reply: from the first of the given configurations that has them."""
    for source in sources:
        value = source.get("eos_token_id")
        if value is not None and value != []:
            values = value if isinstance(value, list) else [value]
            return tuple(_at_least(0, "eos_token_id", token) for token in values)
    raise ValueError("no eos_token_id")
