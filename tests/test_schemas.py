"""The JSON Schemas are valid, and say what docs promise: required fields are all there are, nothing loose."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.e2e.conftest import ROOT, schema, validate

NAMES = sorted(file.name.removesuffix(".schema.json") for file in (ROOT / "docs" / "schema").glob("*.schema.json"))
#: The record of the command line's contract, with a segment whose time could not be read.
ANSWER: dict[str, Any] = {
    "schema": "vt.answer/1",
    "video": {"path": "clip.mp4", "duration": 8.0, "fps": 25.0, "width": 640, "height": 360, "frames": 200},
    "question": "why did he leave?",
    "choices": None,
    "answer": "because …",
    "choice": None,
    "segments": [
        {"start": 0.0, "end": 10.0, "caption": "…", "think": "…"},
        {"start": None, "end": None, "caption": "…", "think": ""},
    ],
    "reasoning": "text outside the tags",
    "text": "the raw output",
    "format_ok": True,
    "finish": "stop",
    "model": {
        "name": "tiny", "revision": None, "engine": "transformers", "device": "cpu", "dtype": "float32", "quant": None
    },
    "sampling": {
        "frames": 2, "indices": [0, 13], "times": [0.0, 0.52], "width": 420, "height": 224,
        "second_per_grid": 1.04, "reader": "pyav",
    },
    "usage": {"prompt_tokens": 1180, "video_tokens": 960, "completion_tokens": 311, "cached_tokens": 0},
    "timing": {"load": 0.0, "read": 0.0, "encode": 0.0, "prefill": 0.0, "generate": 0.0, "total": 0.0},
    "warnings": [],
    "error": None,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


def test_the_documented_record_satisfies_its_schema() -> None:
    validate(ANSWER, "answer")


def test_a_failed_item_satisfies_it_too() -> None:
    error = {"type": "VideoError", "message": "no such file: clip.mp4"}
    validate(ANSWER | {"answer": None, "finish": None, "text": "", "segments": [], "error": error}, "answer")


@pytest.mark.parametrize("field", list(ANSWER))
def test_every_field_is_required(field: str) -> None:
    record = copy.deepcopy(ANSWER)
    del record[field]
    with pytest.raises(ValidationError):
        validate(record, "answer")


@pytest.mark.parametrize(
    "change",
    [
        {"finish": "interrupted"},
        {"choice": "b"},
        {"choices": ["only one"]},
        {"schema": "vt.answer/2"},
        {"segments": [{"start": 0.0, "end": 1.0}]},
        {"warnings": [""]},
    ],
)
def test_what_is_not_a_record_does_not_pass(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validate(ANSWER | change, "answer")
