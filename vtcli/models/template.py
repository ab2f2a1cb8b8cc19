"""The checkpoint's chat template: find it, compile it as transformers does, and run it in Jinja's sandbox.

A template is code from the model's folder, so it runs in the immutable sandbox, without access to Python's internals
and unable to modify its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from vtcli.errors import ModelError, first_line
from vtcli.models.files import read_json


def find_template(folder: Path) -> str:
    """Returns the template's source: chat_template.jinja, chat_template.json or tokenizer_config.json, in that order.

    Raises ModelError if none of them has a template.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        source = read_json(folder / name).get("chat_template")
        if isinstance(source, list):  # several named templates
            source = {each.get("name"): each.get("template") for each in source if isinstance(each, dict)}
            source = source.get("default")
        if isinstance(source, str):
            return source
    raise ModelError(f"{folder} has no chat template (chat_template.jinja or chat_template.json)")


def render(source: str, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
    """Renders the prompt up to the start of the assistant's turn. Raises ModelError if the template fails."""
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise ModelError("the chat template is not UTF-8") from error
    try:
        return str(_compiled(source).render(messages=messages, add_generation_prompt=True, **variables))
    except Exception as error:  # a template is code, which can raise anything
        raise ModelError(f"the chat template failed: {first_line(error)}") from error


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)  # Jinja's own escapes HTML

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)
