"""The benchmarks' prompts: in the wording the model was trained on, or in that of a benchmark's own script."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_uppercase

from vtcli.errors import UsageError
from vtcli.evals.benchmarks.tasks import Task
from vtcli.prompt import PROMPTS, Prompt

Wording = Callable[[Task], str]


#: `--prompt` → the style of `vtcli.prompt`.
STYLES = {"paper": "video-thinker", "video-r1": "video-r1", "plain": "plain"}


def styled(task: Task, style: str) -> Prompt:
    """Like `vtcli.prompt.build_prompt`, but allows a single option: five questions of MVBench have only one."""
    options = f"{lettered(task, '. ')}\n" if task.gold.options else ""
    return PROMPTS[style](task.question, options)


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
    """MCQ_COT_PROMPT of OpenGVLab/VRBench, which also shows a written summary of the video."""
    return (
        "\nYou are a helpful video understanding assistant that answers multi-choice questions through step-by-step "
        "reasoning based on the video and its summary.\n\n# Instructions:\n"
        "1. Break down the reasoning process into clear, specific events.\n"
        "2. Conclude with the best option letter(A/B/C/D) at last.\n\n# Output Format:\n"
        "<Step 1> Description of event/observation \n<Step 2> Description of event/observation \n...  \n"
        "<Answer> [Option letter]\n\n# Multiple Choice Question\n"
        f"Question: {task.question}\nOptions:\n{lettered(task, ': ')}\n\n# Video Summary\n{task.context}\n"
    )


def tempcompass(task: Task) -> str:
    """answer_prompt of llyx97/TempCompass for each task."""
    if task.gold.options:
        return f"{task.question}\n{lettered(task, '. ')}\nPlease directly give the best option:"
    form = "answer yes or no" if task.gold.text in ("yes", "no") else "directly give the best option"
    return f"{task.question}\nPlease {form}:"


def video_mme(task: Task) -> str:
    """README.md of BradyFU/Video-MME, without subtitles."""
    return (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        f"letter (A, B, C, or D) of the correct option.\n{task.question}\n{lettered(task, '. ')}\nThe best answer is:"
    )


def video_mmmu(task: Task) -> str:
    """lmms_eval/tasks/videommmu of videommmu/VideoMMMU, by track; the hub's Adaptation videos end in the image."""
    question = "\n".join(filter(None, (task.question, lettered(task, ". "))))
    if task.context != "Adaptation":
        return f"{question}\nPlease ignore the Quiz question in last frame of the video."
    form = "multi-choice" if task.gold.options else "open-ended"
    return (
        f"You should watch and learn the video content. Then apply what you learned to answer the following {form} "
        f"question. The image for this question is at the end of the video.\n{question}"
    )


def mmvu(task: Task) -> str:
    """COT_PROMPT in utils/constant.py of yale-nlp/MMVU, with its line breaks."""
    if task.gold.options:
        return (
            f"\nQuestion: {task.question}\n{lettered(task, ': ')}\n\n"
            "Answer the given multiple-choice question step by step. Begin by explaining your reasoning process "
            "clearly. Conclude by stating the final answer using the following format: 'Therefore, the final answer "
            "is: $LETTER' (without quotes), where $LETTER is one of the options. Think step by\nstep before answering."
        )
    return (
        f"\nQuestion: {task.question}\n\n"
        "Answer the given question step by step. Begin by explaining your reasoning process clearly. Conclude by "
        "stating the final answer using the following format: 'Therefore, the final answer is: 'Answer: $ANSWER' "
        "(without quotes), where $ANSWER is the final answer of the question. Think step by step\nbefore answering."
    )


def mvbench(task: Task) -> str:
    """video_chat2/mvbench.ipynb of OpenGVLab/Ask-Anything, without the prefix "Best option:(" of VideoChat2's reply."""
    return (
        "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
        "objects, and the action and pose of persons. Based on your observations, select the best option that "
        f"accurately addresses the question.\nQuestion: {task.question}\nOptions:\n{lettered(task, ') ', before='(')}"
        "\nOnly give the best option."
    )


def lettered(task: Task, mark: str, between: str = "\n", before: str = "") -> str:
    """Returns the options, each as `before` + letter + `mark` + text ("A. text"), joined by `between`."""
    options = zip(ascii_uppercase, task.gold.options, strict=False)
    return between.join(f"{before}{letter}{mark}{text}" for letter, text in options)


def prompt_for(name: str, official: Wording | None) -> Callable[[Task], Prompt]:
    """Returns the builder of the prompt that `--prompt` names. Raises UsageError for an unknown or missing prompt."""
    if name in STYLES:
        return lambda task: styled(task, STYLES[name])
    if name != "official":
        raise UsageError(f"--prompt {name}: use one of {', '.join(STYLES)}, official")
    if official is None:
        raise UsageError(f"--prompt official: none is known of this benchmark; use {', '.join(STYLES)}")
    return lambda task: Prompt(None, official(task))
