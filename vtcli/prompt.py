"""The prompts that models were trained with, byte for byte, and the message layout that carries them.

Sources: Video-R1 as its evaluation sends it (tulerfeng/Video-R1); Video-Thinker (arXiv 2510.23473, appendix D.1) as its
training and evaluation scripts send it. The scripts differ from the paper's typesetting: the weights were trained with
the backticks, the doubled "such as" and the missing space in "tags.Follow", so all three are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from string import ascii_uppercase
from typing import Any

from vtcli.errors import UsageError

SYSTEM_PROMPT = (
    "You are an expert video analyst tasked with solving problems based on video content. When answering a "
    "question about a video, you should carefully observe and analyze important visual clues from the videos "
    "to answer. For each important segment you notice, first observe the key visual elements, then analyze "
    "their significance using the following format: specify the time range with "
    "`<time>start_time-end_time</time>`, describe the key visual clues with `<caption>Description of key "
    "visual clues</caption>`, and provide your analysis about what this means with `<think>Your analysis and "
    "thoughts about this segment</think>`. Throughout your analysis, think about the question as if you were "
    "a human pondering deeply, engaging in an internal dialogue using natural thought expressions such as "
    "such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, or other natural "
    "language thought expressions. After examining the key visual clues, continue with deeper reasoning that "
    "connects your observations to the answer. Self-reflection or verification in your reasoning process is "
    "encouraged when necessary, though if the answer is straightforward, you may proceed directly to the "
    "conclusion. Finally, conclude by placing your final answer in `<answer> </answer>` tags."
)

USER_TEMPLATE = (
    "{Question}\n\nPlease analyze the video carefully by identifying key segments and their important visual "
    "clues within `<time> </time>`, `<caption> </caption>`, `<think> </think>` tags then conduct deep "
    "analysis and reasoning to arrive at your answer to the question, finally provide only the single option "
    "letter (e.g., A, B, C, D, E, F etc.) within the `<answer> </answer>` tags.Follow the format specified in"
    " the instructions."
)

_LETTER_REQUEST = "provide only the single option letter (e.g., A, B, C, D, E, F etc.)"

#: The paper has no template for open questions: its template asks for an option letter even without options.
#: Only those words are replaced; everything else is the trained text.
OPEN_USER_TEMPLATE = USER_TEMPLATE.replace(_LETTER_REQUEST, "provide your answer")

#: Video-R1's text after every question, followed by the requested kind of answer. The missing full stop is Video-R1's.
VIDEO_R1_USER_TEMPLATE = (
    "{Question}\nPlease think about this question as if you were a human pondering deeply. Engage in an internal "
    "dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, or "
    "other natural language thought expressions It's encouraged to include self-reflection or verification in the "
    "reasoning process. Provide your detailed reasoning between the <think> </think> tags, and then give your final "
    "answer between the <answer> </answer> tags."
)
VIDEO_R1_LETTER = (
    " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> </answer> tags."
)
VIDEO_R1_TEXT = " Please provide your text answer within the <answer> </answer> tags."


@dataclass(frozen=True)
class Prompt:
    """The texts of one question, before the chat template: `user` (question and instructions) and `system`.

    Without a system text, the template inserts its own. `later` holds the rest of a conversation: the model's reply,
    the next question, and so on in turns; the paper has no conversations. `videos`, then `pictures`, precede the user's
    text.
    """

    system: str | None
    user: str
    later: tuple[str, ...] = ()
    videos: int = 1
    pictures: int = 0

    def messages(self) -> list[dict[str, Any]]:
        """Returns the chat messages as trained: system, if any, then a user turn with the video before the text."""
        shown = [{"type": "video"}] * self.videos + [{"type": "image"}] * self.pictures
        user = {"role": "user", "content": [*shown, {"type": "text", "text": self.user}]}
        later = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in zip(cycle(("assistant", "user")), self.later, strict=False)
        ]
        if self.system is None:
            return [user, *later]
        return [{"role": "system", "content": [{"type": "text", "text": self.system}]}, user, *later]


def build_prompt(question: str, choices: Sequence[str] = (), style: str = "video-thinker") -> Prompt:
    """Builds the prompt of one question, open or multiple choice, in a `style` of PROMPTS.

    `choices` are the option texts without letters. "A. ", "B. " … are added here, in the layout of the paper's
    evaluation (`"\\nOptions:\\n"`, one option per line). The question stays as given. Raises UsageError for an empty
    question or option, a single option, more than 26 options, or text that is not valid Unicode.
    """
    _check(question, choices)
    return PROMPTS[style](question, option_lines(choices))


def option_lines(texts: Sequence[str]) -> str:
    """Returns the option texts with their letters, one per line."""
    return "".join(f"{letter}. {text}\n" for letter, text in zip(ascii_uppercase, texts, strict=False))


def _video_thinker(question: str, options: str) -> Prompt:
    if not options:
        return Prompt(SYSTEM_PROMPT, OPEN_USER_TEMPLATE.replace("{Question}", question))
    return Prompt(SYSTEM_PROMPT, USER_TEMPLATE.replace("{Question}", f"{question}\nOptions:\n{options}"))


def _video_r1(question: str, options: str) -> Prompt:
    template = VIDEO_R1_USER_TEMPLATE + (VIDEO_R1_LETTER if options else VIDEO_R1_TEXT)
    asked = f"{question}Options:\n{options}" if options else question  # no newline before "Options:", as in Video-R1
    return Prompt(None, template.replace("{Question}", asked))


def _plain(question: str, options: str) -> Prompt:
    return Prompt(None, f"{question}\n{options}Answer with the option's letter." if options else question)


#: The values of a catalogue entry's `prompt`: the text a model was trained with, or ("plain") the question alone.
PROMPTS: Mapping[str, Callable[[str, str], Prompt]] = {
    "video-thinker": _video_thinker,
    "video-r1": _video_r1,
    "plain": _plain,
}


def known_style(named: object) -> str:
    """Returns `named` if it is one of PROMPTS, otherwise the paper's style."""
    return named if isinstance(named, str) and named in PROMPTS else "video-thinker"


def _check(question: str, choices: Sequence[str]) -> None:
    if not question.strip():
        raise UsageError("the question is empty: ask something about the video")
    if len(choices) == 1:
        raise UsageError("one choice only: give at least two, or none for an open question")
    if len(choices) > len(ascii_uppercase):
        raise UsageError(f"{len(choices)} choices: at most {len(ascii_uppercase)}, one for each letter A-Z")
    if not all(text.strip() for text in choices):
        raise UsageError("a choice is empty: give each --choice a text")
    try:  # invalid bytes on the command line arrive as lone surrogates
        "".join((question, *choices)).encode()
    except UnicodeEncodeError:
        raise UsageError("the question or a choice is not valid UTF-8 text") from None
