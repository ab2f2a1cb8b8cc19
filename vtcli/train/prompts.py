"""Turns a record into the prompt it is trained under and the reply it teaches, in each of the prompt layouts."""

from __future__ import annotations

from dataclasses import replace

from vtcli.prompt import (
    SYSTEM_PROMPT,
    USER_TEMPLATE,
    VIDEO_R1_LETTER,
    VIDEO_R1_TEXT,
    VIDEO_R1_USER_TEMPLATE,
    Prompt,
    build_prompt,
    option_lines,
)
from vtcli.train.recipe import Recipe
from vtcli.train.records import Record

_NUMBER = " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags."
_VIDEO_R1_KINDS = {
    "multiple choice": VIDEO_R1_LETTER,
    "numerical": _NUMBER,
    "regression": _NUMBER,
    "OCR": " Please transcribe text from the image/video clearly and provide your text answer within the <answer> "
    "</answer> tags.",
    "free-form": VIDEO_R1_TEXT,
    "temporal grounding": VIDEO_R1_TEXT,  # this kind and the next are not Video-R1's
    "exact": VIDEO_R1_TEXT,
}


def prompt_of(record: Record, layout: str) -> Prompt:
    """Builds the prompt of one record.

    "video-thinker": the layout of the paper's training script, which appends "Options:" to the problem without a
    newline and asks for a letter whatever the question. "video-r1": that of tulerfeng/Video-R1, without a system turn.
    "ask": that of `vt ask`.
    """
    videos, pictures = len(record.videos), len(record.pictures)
    if layout == "ask":
        asked = build_prompt(record.problem, record.options)
        return replace(asked, videos=videos, pictures=pictures)
    options = option_lines(record.options)
    question = record.problem + (f"Options:\n{options}" if options else "")
    if layout == "video-r1":
        user = VIDEO_R1_USER_TEMPLATE.replace("{Question}", question) + _VIDEO_R1_KINDS[record.kind]
        return Prompt(None, user, videos=videos, pictures=pictures)
    return Prompt(SYSTEM_PROMPT, USER_TEMPLATE.replace("{Question}", question), videos=videos, pictures=pictures)


def asked_in(layout: str) -> str:
    """Returns which of `vtcli.prompt.PROMPTS` `vt ask` must use for a model trained under a layout of `prompt_of`."""
    return "video-r1" if layout == "video-r1" else "video-thinker"


def target_of(record: Record, recipe: Recipe) -> str:
    """Returns what SFT teaches: process, newline, solution [S]; `tiny` was made with a space between the two."""
    between = " " if recipe.prompt == "ask" else "\n"
    return f"{record.process}{between}{record.solution}" if record.process else record.solution
