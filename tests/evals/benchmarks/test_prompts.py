"""What models are asked: the paper's text to the byte, the others as their scripts send them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vtcli.errors import UsageError
from vtcli.evals.benchmarks.prompts import lettered, prompt_for
from vtcli.evals.benchmarks.table import BENCHMARKS
from vtcli.evals.benchmarks.tasks import Task
from vtcli.prompt import build_prompt
from vtcli.scoring.gold import resolve

paper, video_r1, plain = (prompt_for(name, None) for name in ("paper", "video-r1", "plain"))
CHOICE = Task("1", "v", "Who?", resolve("B", ["one", "two"]), context="A summary.")
OPEN = Task("2", "v", "Who?", resolve("two"))
APPLIED = replace(CHOICE, context="Adaptation")
YES = Task("3", "v", "Is it?", resolve("yes"))


def test_the_papers_prompt_is_the_one_of_vt_ask() -> None:
    assert paper(CHOICE) == build_prompt("Who?", ["one", "two"])
    assert paper(OPEN) == build_prompt("Who?")


def test_one_option_is_asked_too() -> None:
    """Five questions of MVBench have one."""
    user = paper(Task("1", "v", "Who?", resolve("A", ["one"]))).user
    assert user.startswith("Who?\nOptions:\nA. one\n\n\nPlease analyze")


def test_the_other_styles_are_those_of_vt_ask_too() -> None:
    assert video_r1(CHOICE) == build_prompt("Who?", ["one", "two"], "video-r1")
    assert plain(CHOICE) == build_prompt("Who?", ["one", "two"], "plain")


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("video-holmes", CHOICE, "The question is: Who?. The options are: A: one, B: two. Your answer:"),
        ("cg-bench", CHOICE, "Question: Who?\n\nA:one\nB:two\n\n"),
        ("vrbench", CHOICE, "Question: Who?\nOptions:\nA: one\nB: two\n\n# Video Summary\nA summary.\n"),
        ("tempcompass", CHOICE, "Who?\nA. one\nB. two\nPlease directly give the best option:"),
        ("video-mme", CHOICE, "correct option.\nWho?\nA. one\nB. two\nThe best answer is:"),
        ("video-mmmu", CHOICE, "Who?\nA. one\nB. two\nPlease ignore the Quiz question in last frame of the video."),
        (
            "video-mmmu",
            APPLIED,
            "following multi-choice question. The image for this question is at the end of the video."
            "\nWho?\nA. one\nB. two",
        ),
        ("video-mmmu", replace(OPEN, context="Adaptation"), "question is at the end of the video.\nWho?"),
        ("mmvu", CHOICE, "where $LETTER is one of the options. Think step by\nstep before answering."),
        ("mmvu", OPEN, "is the final answer of the question. Think step by step\nbefore answering."),
        ("mvbench", CHOICE, "Question: Who?\nOptions:\n(A) one\n(B) two\nOnly give the best option."),
        ("tempcompass", YES, "Is it?\nPlease answer yes or no:"),
    ],
)
def test_official_prompts(name: str, task: Task, says: str) -> None:
    prompt = prompt_for("official", BENCHMARKS[name].official)(task)
    assert prompt.system is None and prompt.user.endswith(says)


def test_names() -> None:
    for name, says in (
        ("official", "none is known of this benchmark"),
        ("best", "use one of paper, video-r1, plain, official"),
    ):
        with pytest.raises(UsageError, match=says):
            prompt_for(name, None)


def test_braces_in_questions_are_text() -> None:
    task = Task("1", "v", "{Question} {0}?", resolve("A", ["{x}", "y"]))
    for prompt in (paper(task), video_r1(task)):
        assert "{Question} {0}?" in prompt.user and "A. {x}" in prompt.user
    assert lettered(task, ": ", ", ") == "A: {x}, B: y"
