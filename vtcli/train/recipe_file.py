"""Reads recipes from YAML, packaged with vt or the user's own, and checks every key before anything is loaded."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vtcli.errors import UsageError
from vtcli.train.recipe import Recipe

_PACKAGED = files("vtcli.train") / "recipes"


def packaged() -> dict[str, str]:
    """Returns name → description of the recipes that come with vt."""
    return {name: str(_parse(text, name).get("description", "")) for name, text in _texts().items()}


def recipe_text(name: str) -> str:
    """Returns the YAML, with comments, of a packaged recipe or a file. Raises UsageError for any other name."""
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
    """Loads the recipe `name`, packaged or a YAML file, and applies `changes` ("grpo.beta=0.1") to it.

    Raises UsageError for an unknown key, with the nearest known one, and for values of the wrong kind.
    """
    values = _parse(recipe_text(name), name)
    for change in changes:
        _change(values, change)
    recipe = recipe_of(values)
    _check(recipe)
    return recipe


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """Builds a recipe from values of `Recipe.as_json`; missing keys take their defaults. Raises UsageError."""
    recipe: Recipe = _build(Recipe, values, "")
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """Returns the recipe's values as YAML, without comments."""
    import yaml

    return str(yaml.safe_dump(recipe.as_json(), sort_keys=False, allow_unicode=True))


def _check(recipe: Recipe) -> None:
    """Raises UsageError for values that are valid on their own but not together."""
    if (recipe.frames.count is None) == (recipe.frames.fps is None):
        raise UsageError("frames: give one of count and fps, and null for the other")
    if not recipe.stages:
        raise UsageError("the recipe has no stage: it needs sft, grpo or both")
    for name in recipe.stages:
        stage = recipe.stage(name)
        if stage.batch % stage.per_device:
            raise UsageError(f"{name}.batch {stage.batch} is no multiple of {name}.per_device {stage.per_device}")
    grpo = recipe.grpo
    if grpo is not None and not grpo.rewards:
        raise UsageError("grpo.rewards is empty: give at least one reward with its weight")
    if grpo is not None and grpo.save_every % grpo.iterations:
        # a resumed run would draw new completions in the middle of their updates
        fits = max(1, grpo.save_every // grpo.iterations) * grpo.iterations
        raise UsageError(
            f"grpo.save_every {grpo.save_every} is no multiple of grpo.iterations {grpo.iterations}: "
            f"--set grpo.save_every={fits}"
        )


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
    else:  # keys of roots and rewards may contain dots
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
    """Returns the class of section `name`; dict for roots and rewards."""
    kind = _known(owner, name, key)
    for choice in _choices(kind):
        if isinstance(choice, type) and is_dataclass(choice):
            return choice
        if get_origin(choice) is dict:
            return dict
    raise UsageError(f"{key}: {name} is a value, not a section")


def _known(owner: type[Any], name: str, where: str) -> Any:
    kinds = get_type_hints(owner, include_extras=True)
    if name not in kinds:
        raise UsageError(f"no such key in a recipe: {where}{_nearest(name, list(kinds))}")
    return kinds[name]


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _build(kind: type[Any], values: Any, where: str) -> Any:
    """Builds the dataclass `kind` from `values`, each converted to the type of its field."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{where.rstrip('.')}: a section with keys is wanted, not {values!r}")
    kinds = get_type_hints(kind, include_extras=True)
    made = {name: _convert(value, _known(kind, str(name), f"{where}{name}"), f"{where}{name}")
            for name, value in values.items()}  # fmt: skip
    for each in fields(kind):
        if each.name not in made and each.default is MISSING and each.default_factory is MISSING:
            raise UsageError(f"the recipe lacks {where}{each.name} ({_names(_choices(kinds[each.name]))})")
    return kind(**made)


def _convert(value: Any, kind: Any, where: str) -> Any:
    choices = _choices(kind)
    if value is None:
        if type(None) in choices:
            return None
        raise UsageError(f"{where}: a value is needed")
    for choice in choices:
        if get_origin(choice) is Annotated:
            number, allowed = _convert(value, choice.__origin__, where), choice.__metadata__[0]
            if not allowed.holds(number):
                raise UsageError(f"{where} must be {allowed}, not {number}")
            return number
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
        if choice is float and not isinstance(value, bool) and (real := _real(value)) is not None:
            return real
        if choice is str and isinstance(value, str):
            return value
    raise UsageError(f"{where}: {value!r} is no {_names(choices)}")


def _real(value: Any) -> float | None:
    """Converts to a float, because YAML 1.1 reads 1e-5 as text."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _names(choices: Sequence[Any]) -> str:
    plain = [choice.__origin__ if get_origin(choice) is Annotated else choice for choice in choices]
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in plain if kind is not type(None))
