"""What models are asked: the paper's text to the byte, the others as their scripts send them."""

from __future__ import annotations

import pytest

from vtcli.errors import UsageError
from vtcli.evals.benchmarks.prompts import lettered, paper, prompt_for, video_r1
from vtcli.evals.benchmarks.table import BENCHMARKS
from vtcli.evals.benchmarks.tasks import Task
from vtcli.prompt import Prompt, build_prompt
from vtcli.scoring.gold import resolve

CHOICE = Task("1", "v", "Who?", resolve("B", ["one", "two"]), context="A summary.")
OPEN = Task("2", "v", "Who?", resolve("two"))
YES = Task("3", "v", "Is it?", resolve("yes"))


def test_the_papers_prompt_is_the_one_of_vt_ask() -> None:
    assert paper(CHOICE) == build_prompt("Who?", ["one", "two"])
    assert paper(OPEN) == build_prompt("Who?")


def test_one_option_is_asked_too() -> None:
    """Five questions of MVBench have one."""
    user = paper(Task("1", "v", "Who?", resolve("A", ["one"]))).user
    assert user.startswith("Who?\nOptions:\nA. one\n\n\nPlease analyze")


def test_video_r1() -> None:
    prompt = video_r1(CHOICE)
    assert prompt.system == "" and prompt.user.startswith("Who?Options:\nA. one\nB. two\n\nPlease think about")
    assert prompt.user.endswith(
        " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> </answer> tags."
    )
    assert video_r1(OPEN).user.endswith(" Please provide your text answer within the <answer> </answer> tags.")


def test_without_a_system_text_there_is_no_system_turn() -> None:
    assert [turn["role"] for turn in Prompt("", "x").messages()] == ["user"]
    assert [turn["role"] for turn in Prompt("s", "x").messages()] == ["system", "user"]


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("video-holmes", CHOICE, "The question is: Who?. The options are: A: one, B: two. Your answer:"),
        ("cg-bench", CHOICE, "Question: Who?\n\nA:one\nB:two\n\n"),
        ("vrbench", CHOICE, "# Video Summary\nA summary.\n"),
        ("tempcompass", CHOICE, "Who?\nA. one\nB. two\nPlease directly give the best option:"),
        ("tempcompass", YES, "Is it?\nPlease answer yes or no:"),
        ("star", CHOICE, "A. one\nB. two\nAnswer with the option's letter from the given choices directly."),
    ],
)
def test_official_prompts(name: str, task: Task, says: str) -> None:
    prompt = prompt_for("official", BENCHMARKS[name].official)(task)
    assert prompt.system == "" and prompt.user.endswith(says)


def test_names() -> None:
    assert prompt_for("plain", None)(CHOICE).user.startswith("Who?\nA. one")
    for name, says in (("official", "publishes no prompt"), ("best", "use one of paper, official")):
        with pytest.raises(UsageError, match=says):
            prompt_for(name, None)


def test_braces_in_questions_are_text() -> None:
    task = Task("1", "v", "{Question} {0}?", resolve("A", ["{x}", "y"]))
    for prompt in (paper(task), video_r1(task)):
        assert "{Question} {0}?" in prompt.user and "A. {x}" in prompt.user
    assert lettered(task, ": ", ", ") == "A: {x}, B: y"
