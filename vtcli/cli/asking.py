"""The flags of all commands that ask a model, declared once, and the `Question` built from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, get_type_hints

from vtcli.cli import options

if TYPE_CHECKING:
    from vtcli.ask import Question
    from vtcli.engines.prefix import PrefixStore


@dataclass(frozen=True)
class Asking:
    """The values of these flags, one field per flag, in the order of --help."""

    model: options.ModelOption = None
    mmproj: options.ProjectorOption = None
    engine: options.EngineOption = "auto"
    endpoint: options.EndpointOption = None
    device: options.DeviceOption = None
    compile: options.CompileOption = "auto"
    no_cache: options.NoCacheOption = False
    yes: options.YesOption = False
    offline: options.OfflineOption = False
    frames: options.FramesOption = None
    fps: options.FpsOption = None
    max_pixels: options.MaxPixelsOption = None
    start: options.StartOption = None
    end: options.EndOption = None
    stream: options.StreamOption = None
    reader: options.ReaderOption = "auto"
    read_timeout: options.ReadTimeoutOption = options.READ_TIMEOUT
    choice: options.ChoiceOption = None
    max_tokens: options.MaxTokensOption = 1024
    temperature: options.TemperatureOption = 0.1
    top_p: options.TopPOption = 0.001
    seed: options.SeedOption = None


def asks_a_model(without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replaces a command's parameter `asking` with the flags of `Asking`, except those in `without`.

    The command receives the flags' values as `asking`. If the command has a parameter with a flag's name, --help shows
    that parameter in the flag's place, and its value goes to the command itself.
    """
    hints = get_type_hints(Asking, include_extras=True)
    flags = {
        field.name: Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(Asking)
        if field.name not in without
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = {
            name: parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for name, parameter in signature(command, eval_str=True).parameters.items()
        }
        common = [name for name in flags if name not in own]
        names: list[str] = []
        for name in own:
            names += flags if name == "asking" else [] if name in flags else [name]
        shown = [own.get(name) or flags[name] for name in names]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(asking=Asking(**{name: values.pop(name) for name in common}), **values)

        run.__signature__ = Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return run

    return decorate


def make_question(
    asking: Asking, video: str, question: str, *, keep: bool, quiet: bool, color: options.Color
) -> Question:
    """Builds the question from the flags and the user's defaults.

    `keep` caches the video prefix on disk for later processes. A model that is not on this machine is pulled first, if
    --yes or the user's confirmation on the terminal allows it.
    """
    _refuse_what_is_missing(asking)
    from vtcli.engines.base import SamplingOptions
    from vtcli.errors import UsageError
    from vtcli.video.source import is_address

    frames = options.frame_count(asking.frames, asking.fps, video)
    if asking.offline and is_address(video):
        raise UsageError("--offline and a video on a server exclude each other: download it first")
    if asking.seed is not None and not 0 <= asking.seed < 2**63:
        raise UsageError(f"--seed {asking.seed}: give a number from 0 to 2^63 - 1")
    from vtcli.settings import load_settings

    settings = load_settings()
    from pathlib import Path

    from vtcli.ask import Question
    from vtcli.cli.ensure import ensure_model

    named = asking.model or settings.model
    return Question(
        video=video,
        question=question,
        model=ensure_model(named, asking.yes, asking.offline, quiet, color),
        projector=Path(asking.mmproj).expanduser() if asking.mmproj else None,
        engine=asking.engine,
        choices=tuple(asking.choice or ()),
        frames=frames,
        fps=asking.fps,
        start=asking.start,
        end=asking.end,
        max_pixels=asking.max_pixels,
        stream=asking.stream,
        reader=asking.reader,
        read_timeout=options.read_limit(asking.read_timeout),
        device=asking.device or settings.device or "auto",
        compile=asking.compile,
        store=_store() if keep else None,
        sampling=SamplingOptions(
            max_tokens=asking.max_tokens, temperature=asking.temperature, top_p=asking.top_p, seed=asking.seed
        ),
    )


def _store() -> PrefixStore | None:
    """The cache of video prefixes, or None if config.toml allows it no space."""
    from vtcli.settings import prefix_store

    store = prefix_store()
    return store if store.limit else None


def _refuse_what_is_missing(asking: Asking) -> None:
    from vtcli.errors import EngineError

    if asking.engine == "openai":
        raise EngineError("--engine openai is not in this version: give a model folder or a GGUF file with -m")
    if asking.endpoint is not None:
        raise EngineError("--endpoint is not in this version: give a model folder or a GGUF file with -m")
