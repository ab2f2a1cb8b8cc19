"""What a model is asked: the paper's prompt, Video-R1's for the baselines, and each benchmark's own."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_uppercase

from vtcli.errors import UsageError
from vtcli.evals.benchmarks.tasks import Task
from vtcli.prompt import OPEN_USER_TEMPLATE, SYSTEM_PROMPT, USER_TEMPLATE, Prompt

Wording = Callable[[Task], str]


def paper(task: Task) -> Prompt:
    """Video-Thinker's: as `vtcli.prompt.build_prompt`, but one option is allowed (five questions of MVBench)."""
    if not task.gold.options:
        return Prompt(SYSTEM_PROMPT, OPEN_USER_TEMPLATE.replace("{Question}", task.question))
    question = f"{task.question}\nOptions:\n{lettered(task, '. ')}\n"
    return Prompt(SYSTEM_PROMPT, USER_TEMPLATE.replace("{Question}", question))


def video_r1(task: Task) -> Prompt:
    """tulerfeng/Video-R1's, for it and its kin: no system text of its own, one think and one answer."""
    if task.gold.options:
        question = f"{task.question}Options:\n{lettered(task, '. ')}\n"
        form = "provide only the single option letter (e.g., A, B, C, D, etc.)"
    else:
        question, form = task.question, "provide your text answer"
    return Prompt("", f"{_VIDEO_R1.replace('{Question}', question)} Please {form} within the <answer> </answer> tags.")


_VIDEO_R1 = (
    "{Question}\nPlease think about this question as if you were a human pondering deeply. Engage in an internal "
    "dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, or "
    "other natural language thought expressions It's encouraged to include self-reflection or verification in the "
    "reasoning process. Provide your detailed reasoning between the <think> </think> tags, and then give your final "
    "answer between the <answer> </answer> tags."
)


def plain(task: Task) -> str:
    """Question and options, with a request for the letter: what most official scripts come to."""
    if not task.gold.options:
        return task.question
    return f"{task.question}\n{lettered(task, '. ')}\nAnswer with the option's letter from the given choices directly."


def video_holmes(task: Task) -> str:
    """evaluate.py of TencentARC/Video-Holmes."""
    return (
        "Based on the given video, reason and answer the single-choice question. Provide your reasoning between the "
        "<think> and </think> tags, and then give your final answer between the <answer> and </answer> tags. "
        f"The question is: {task.question}. The options are: {lettered(task, ': ', ', ')}. Your answer:"
    )


def cg_bench(task: Task) -> str:
    """Task long_acc of CG-Bench, without subtitles and frame times."""
    return (
        "You will be provided with sampled frames from a video, along with a multiple-choice question that includes a "
        "question and several answer options.\nYour task is to analyze the provided frames, infer the most plausible "
        "answer based on the visual information.\nIf the video does not provide enough information, infer the answer "
        "based on the options available and still provide a result. Therefore, In all cases, an answer must be given.\n"
        'Only output the answer in the following format:\n\n```json\n{"result": "option"}\n```\n\n'
        'The "option" is the uppercase letter corresponding to your answer.\n\n'
        f"Question: {task.question}\n\n{lettered(task, ':')}\n\n"
    )


def vrbench(task: Task) -> str:
    """MCQ_COT_PROMPT of OpenGVLab/VRBench, which shows a written summary of the video too."""
    return (
        "\nYou are a helpful video understanding assistant that answers multi-choice questions through step-by-step "
        "reasoning based on the video and its summary.\n\n# Instructions:\n"
        "1. Break down the reasoning process into clear, specific events.\n"
        "2. Conclude with the best option letter(A/B/C/D) at last.\n\n# Output Format:\n"
        "<Step 1> Description of event/observation \n<Step 2> Description of event/observation \n...  \n"
        "<Answer> [Option letter]\n\n# Multiple Choice Question\n"
        f"{task.question}\n{lettered(task, '. ')}\n\n# Video Summary\n{task.context}\n"
    )


def tempcompass(task: Task) -> str:
    """answer_prompt of llyx97/TempCompass by task."""
    if task.gold.options:
        return f"{task.question}\n{lettered(task, '. ')}\nPlease directly give the best option:"
    form = "answer yes or no" if task.gold.text in ("yes", "no") else "directly give the best option"
    return f"{task.question}\nPlease {form}:"


def lettered(task: Task, mark: str, between: str = "\n") -> str:
    """The options as "A. text" (or with another `mark`), a line each."""
    return between.join(f"{c}{mark}{text}" for c, text in zip(ascii_uppercase, task.gold.options, strict=False))


def prompt_for(name: str, official: Wording | None) -> Callable[[Task], Prompt]:
    """The prompt `--prompt` names. Raises UsageError where there is none of that name."""
    if name == "paper":
        return paper
    if name == "video-r1":
        return video_r1
    if name == "plain":
        return lambda task: Prompt("", plain(task))
    if name == "official" and official is not None:
        return lambda task: Prompt("", official(task))
    if name == "official":
        raise UsageError("--prompt official: this benchmark publishes no prompt; use paper, video-r1 or plain")
    raise UsageError(f"--prompt {name}: use one of paper, official, video-r1, plain")
