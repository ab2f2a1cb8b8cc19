from __future__ import annotations

from hashlib import sha256

import pytest

from vtcli.errors import UsageError
from vtcli.prompt import OPEN_USER_TEMPLATE, SYSTEM_PROMPT, USER_TEMPLATE, Prompt, build_prompt


def test_texts_are_the_papers_byte_for_byte() -> None:
    assert (len(SYSTEM_PROMPT), len(USER_TEMPLATE)) == (1284, 425)
    digests = [sha256(text.encode()).hexdigest() for text in (SYSTEM_PROMPT, USER_TEMPLATE)]
    assert digests == [
        "655a28cffb06d4399e4031242bf7126cbaf5019e6e6e56100fb89e6133fa72c2",
        "6a6875e1342a6b7f21b28e50271eac4408d2b4ac3e68dc1ee9641b5b588f5290",
    ]


def test_multiple_choice_is_laid_out_as_in_the_evaluation() -> None:
    prompt = build_prompt("Why {did} he leave?", ["rain", "A. cold {Question}"])
    start = "Why {did} he leave?\nOptions:\nA. rain\nB. A. cold {Question}\n\n\nPlease analyze the video carefully"
    assert prompt.user.startswith(start)
    assert prompt.user.endswith("within the `<answer> </answer>` tags.Follow the format specified in the instructions.")
    assert "provide only the single option letter (e.g., A, B, C, D, E, F etc.) within" in prompt.user


def test_an_open_question_changes_only_the_request_for_a_letter() -> None:
    prompt = build_prompt(" {Question} \n")
    assert prompt.user == OPEN_USER_TEMPLATE.replace("{Question}", " {Question} \n", 1)
    before, after = OPEN_USER_TEMPLATE.split("provide your answer")
    assert USER_TEMPLATE.startswith(before) and USER_TEMPLATE.endswith(after)


def test_video_r1_is_asked_in_its_own_way() -> None:
    """Its text (tulerfeng/Video-R1): no system turn, options without a newline before, and what is wanted last."""
    prompt = build_prompt("Why?", ["rain", "cold"], "video-r1")
    assert prompt.system is None
    assert prompt.user.startswith("Why?Options:\nA. rain\nB. cold\n\nPlease think about this question as if you were a")
    assert prompt.user.endswith(" Please provide only the single option letter (e.g., A, B, C, D, etc.) within the "
                                "<answer> </answer> tags.")  # fmt: skip
    assert build_prompt("Why?", style="video-r1").user.endswith(
        "<answer> </answer> tags. Please provide your text answer within the <answer> </answer> tags."
    )
    assert prompt.messages() == [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt.user}]}
    ]


def test_a_plain_model_is_asked_the_question_alone() -> None:
    assert build_prompt("Why?", style="plain") == Prompt(None, "Why?")
    asked = build_prompt("Why?", ["rain", "cold"], "plain").user
    assert asked == "Why?\nA. rain\nB. cold\nAnswer with the option's letter."


def test_later_turns_follow_without_the_video() -> None:
    messages = Prompt("system", "first", ("a reply", "second")).messages()
    assert messages[:2] == Prompt("system", "first").messages()
    assert [(m["role"], m["content"]) for m in messages[2:]] == [
        ("assistant", [{"type": "text", "text": "a reply"}]),
        ("user", [{"type": "text", "text": "second"}]),
    ]


def test_messages_put_the_video_first() -> None:
    prompt = build_prompt("q")
    assert prompt.messages() == [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt.user}]},
    ]


@pytest.mark.parametrize(
    ("question", "choices", "says"),
    [
        ("", [], "question is empty"),
        (" \n\t", ["a", "b"], "question is empty"),
        ("q", ["a"], "one choice only"),
        ("q", ["a", " "], "choice is empty"),
        ("q", ["a"] * 27, "at most 26"),
        ("q\udcff", [], "UTF-8"),
        ("q", ["a", "\udcff"], "UTF-8"),
    ],
)
def test_bad_input(question: str, choices: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        build_prompt(question, choices)
    assert "\n" not in str(error.value)
