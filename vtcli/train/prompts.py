"""A record → the prompt it is trained under and the reply it teaches, in each of the layouts there are."""

from __future__ import annotations

from string import ascii_uppercase

from vtcli.prompt import SYSTEM_PROMPT, USER_TEMPLATE, Prompt, build_prompt
from vtcli.train.recipe import Recipe
from vtcli.train.records import Record

_VIDEO_R1 = (
    "{Question}\nPlease think about this question as if you were a human pondering deeply. Engage in an internal "
    "dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, or "
    "other natural language thought expressions It's encouraged to include self-reflection or verification in the "
    "reasoning process. Provide your detailed reasoning between the <think> </think> tags, and then give your final "
    "answer between the <answer> </answer> tags."
)
_NUMBER = " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags."
_TEXT = " Please provide your text answer within the <answer> </answer> tags."
_VIDEO_R1_KINDS = {
    "multiple choice": " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> "
    "</answer> tags.",
    "numerical": _NUMBER,
    "regression": _NUMBER,
    "OCR": " Please transcribe text from the image/video clearly and provide your text answer within the <answer> "
    "</answer> tags.",
    "free-form": _TEXT,
    "temporal grounding": _TEXT,  # this and the next are not Video-R1's
    "exact": _TEXT,
}


def prompt_of(record: Record, layout: str) -> Prompt:
    """The prompt of one record.

    "video-thinker": the paper's training script, which puts "Options:" behind the problem without a newline and asks
    for a letter whatever the question. "video-r1": tulerfeng/Video-R1, no system turn. "ask": as `vt ask`.
    """
    if layout == "ask":
        asked = build_prompt(record.problem, record.options)
        return Prompt(asked.system, asked.user, len(record.videos))
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(ascii_uppercase, record.options, strict=False))
    question = record.problem + (f"Options:\n{options}" if options else "")
    if layout == "video-r1":
        user = _VIDEO_R1.replace("{Question}", question) + _VIDEO_R1_KINDS[record.kind]
        return Prompt(None, user, len(record.videos))
    return Prompt(SYSTEM_PROMPT, USER_TEMPLATE.replace("{Question}", question), len(record.videos))


def target_of(record: Record, recipe: Recipe) -> str:
    """What SFT teaches: process, newline, solution [S]; `tiny` was made with a blank between the two."""
    between = " " if recipe.prompt == "ask" else "\n"
    return f"{record.process}{between}{record.solution}" if record.process else record.solution
