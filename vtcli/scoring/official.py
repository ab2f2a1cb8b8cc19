"""The benchmarks' own scorers: each decides as its published script does, including where the script guesses.

None of them knows `<time>` or `<caption>`; scorers that search a whole reply for a letter find one in nearly any trace.
Where a script falls back on an LLM as judge, no LLM is asked: these replies are unreadable, as with the scripts' own
`--disable_llm`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vtcli.errors import UsageError
from vtcli.scoring.elements import contents
from vtcli.scoring.gold import Gold
from vtcli.scoring.rules import UNREADABLE, Rule, Verdict, first_marked, paper, strict, verdict
from vtcli.scoring.videommmu import video_mmmu


def video_holmes(reply: str, gold: Gold) -> Verdict:
    """TencentARC/Video-Holmes, evaluate.py: in the last `<answer>` or the reply, "A:", "A ", "[A", else a bare A…F."""
    answers = contents(reply, ignore_case=False)
    text = answers[-1] if answers else reply
    return verdict(first_marked(text, "ABCDEF") or next((c for c in "ABCDEF" if c in text), None), gold)


def cg_bench(reply: str, gold: Gold) -> Verdict:
    """CG-Bench/CG-Bench, run/utils.py: the JSON block's "result", else any A…H standing alone that is right."""
    start = reply.find("```json")
    end = reply.find("```", start + len("```json"))
    if start != -1 and end != -1:
        block = re.sub(r"(?<=:\s)([A-Za-z_]\w*)", r'"\1"', reply[start + len("```json") : end].strip())
        try:
            given = json.loads(block)["result"]
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        else:
            said = None if given is None else str(given)
            return Verdict(said, float(isinstance(given, str) and gold.letters == {given}))
    named = re.findall(r"\b[A-H]\b", reply)
    if not named:
        return UNREADABLE
    return Verdict(",".join(dict.fromkeys(named)), float(bool(gold.letters & set(named))))


def vrbench(reply: str, gold: Gold) -> Verdict:
    """OpenGVLab/VRBench, evaluation/calculate_scores.py: a cascade from \\boxed{} to any letter, mostly the last."""
    return verdict(_vrbench_letter(reply), gold)


_VR_FIRST = (
    re.compile(r"\\boxed\{([A-E])\}", re.IGNORECASE),
    re.compile(r"<Answer>\s*([A-E])", re.IGNORECASE),
)
_VR_LINE = re.compile(r"^([A-E])\.\s*.+$", re.IGNORECASE | re.MULTILINE)
_VR_PHRASES = tuple(
    re.compile(rf"{phrase}[:\s]+([A-E])(?:\s|$|\.|,)", re.IGNORECASE)
    for phrase in ("Answer", "answer is", "correct answer", "final answer", "final", "therefore", "conclusion")
)
_VR_LABELS = tuple(re.compile(rf"([A-E]){mark}", re.IGNORECASE) for mark in (r"\.", r"\)", ":"))
_VR_SPACE = re.compile(r"(?:^|\n|\s)([A-E])\s+(?=[A-Z]|$|\n)", re.IGNORECASE | re.MULTILINE)
_VR_WORD = re.compile(r"\b([A-E])\b", re.IGNORECASE)
_VR_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'


def _vrbench_letter(reply: str) -> str | None:
    for pattern in _VR_FIRST:
        if first := pattern.search(reply):
            return first[1].upper()
    if lines := _VR_LINE.findall(reply.strip()):
        return str(lines[-1]).upper()
    if stated := [letter for phrase in _VR_PHRASES for letter in phrase.findall(reply)]:
        return str(stated[-1]).upper()
    for pattern in (*_VR_LABELS, _VR_SPACE):
        if found := pattern.findall(reply):
            return str(found[-1]).upper()
    if words := _VR_WORD.findall(_vrbench_plain(reply)):
        return str(words[-1]).upper()
    if not re.search(r"\b[A-E]\b", reply):
        return None
    last = _VR_WORD.findall(reply.lower()[-50:]) or re.findall(r"\b([A-E])\b", reply)
    return str(last[-1]).upper()


def _vrbench_plain(reply: str) -> str:
    text = reply.replace("\n", " ").replace("\t", " ").strip()
    plain, thousands = text, re.search(r"\d,\d", text) is not None
    for mark in _VR_PUNCTUATION:
        plain = plain.replace(mark, "" if thousands or f"{mark} " in text or f" {mark}" in text else " ")
    # The script passes re.UNICODE (32) as the count, so only 32 full stops are removed.
    plain = re.sub(r"(?!<=\d)(\.)(?!\d)", "", plain, count=32)
    return plain.strip("'").strip('"').strip(")").strip("(").strip().lower()


def tempcompass(reply: str, gold: Gold) -> Verdict:
    """llyx97/TempCompass, eval_{multi-choice,yes_no,caption_matching}.py; the gold answer decides which."""
    reply = reply.replace("</s>", "").strip()
    if gold.letters:
        return _tempcompass_choice(reply, gold)
    if gold.text.lower() in ("yes", "no"):
        given = next((word for word in ("yes", "no") if reply.lower().startswith(word)), None)
        return UNREADABLE if given is None else Verdict(given, float(given == gold.text.lower()))
    label, _, sentence = gold.text.partition(": ")
    last = reply.split(") ")[1] if ") " in reply else reply
    labels = (label, label.split(" ")[-1])
    named = reply == gold.text or reply in labels or reply.replace(".", "") in labels
    if reply and (named or (sentence and sentence in (reply, last))):
        return Verdict(reply, 1.0)
    return Verdict(reply, 0.0) if re.match(r"(Option|Sentence|Caption) \w", reply) else UNREADABLE


def _tempcompass_choice(reply: str, gold: Gold) -> Verdict:
    (letter,) = gold.letters
    if gold.text and reply == f"{letter}. {gold.text}":
        return Verdict(letter, 1.0)
    if reply in ("A", "B", "C", "D") or re.match(r"[A-D][.)]", reply):
        return verdict(reply[0], gold)
    return UNREADABLE


def video_mme(reply: str, gold: Gold) -> Verdict:
    """BradyFU/Video-MME, evaluation/eval_your_results.py: the first capital A…D of the reply.

    The script's list of phrases to ignore lacks commas, so it reads "Best answer: C" as B. It counts only the replies
    that contain a letter; here the others are wrong.
    """
    text = reply.strip()
    for phrase in ("The best answer is", "The correct answer is", "The answer is", "The answer"):
        text = text.replace(phrase, "")
    first = re.search("[ABCD]", text)
    return verdict(first[0] if first else None, gold)


def lvbench(reply: str, gold: Gold) -> Verdict:
    """THUDM/LVBench, lvbench/utils/answer_util.py: the first character before the first ")" and, there, after a "("."""
    text = reply.strip().split(")")[0].strip()
    if "(" in text:
        text = text.split("(")[1].strip()
    return verdict(text.split(" ")[0][:1] or None, gold)


def mvbench(reply: str, gold: Gold) -> Verdict:
    """OpenGVLab/Ask-Anything, video_chat2/mvbench.ipynb, check_ans: the first word is part of the truth's "(a)".

    A first word that contains the "(a)" is right too. The script also accepts an empty reply, or one that begins with a
    lone bracket; here these are unreadable.
    """
    (letter,) = gold.letters
    word = reply.lower().split(" ")[0]
    if not any(c in word for c in "abcdefg"):
        return UNREADABLE
    truth = f"({letter.lower()})"
    return Verdict(word, float(word.replace(".", "") in truth or truth in word))


def video_r1(reply: str, gold: Gold) -> Verdict:
    """tulerfeng/Video-R1, src/eval_bench.py: the first `<answer>`, else the whole reply, must be the letter."""
    answers = contents(reply, ignore_case=False)
    given = (answers[0] if answers else "") or reply.strip()
    return Verdict(given, float(gold.letters == {given})) if given else UNREADABLE


def tw_grpo(reply: str, gold: Gold) -> Verdict:
    """longmalongma/TW-GRPO, src/eval: the first `<answer>`, else "answer: C".

    Naming only some of several right options earns partial credit. Its scorer for untrained models is `whole`.
    """
    answers = contents(reply, ignore_case=False)
    if answers:
        return _subset(answers[0], gold)
    stated = re.search(r"(?:answer|Answer|ANSWER)[:\s]+([A-Z](?:\s*,\s*[A-Z])*)", reply)
    return _subset(stated[1] if stated else "", gold)


def whole(reply: str, gold: Gold) -> Verdict:
    """TW-GRPO's eval_general_zeroshot.py: the reply must be the letter and nothing else; tags count as text."""
    return _subset(reply.strip(), gold)


def _subset(given: str, gold: Gold) -> Verdict:
    parts = set(given.replace(" ", "").split(","))
    right = gold.letters or {gold.text.replace(" ", "")}
    if not parts <= right:
        return Verdict(given, 0.0) if given else UNREADABLE
    return Verdict(given, len(parts) / len(right))


RULES: dict[str, Rule] = {
    "strict": strict,
    "paper": paper,
    "video-holmes": video_holmes,
    "cg-bench": cg_bench,
    "vrbench": vrbench,
    "tempcompass": tempcompass,
    "lvbench": lvbench,
    "video-mme": video_mme,
    "video-mmmu": video_mmmu,
    "mvbench": mvbench,
    "video-r1": video_r1,
    "tw-grpo": tw_grpo,
    "whole": whole,
}
"""The rules by the names that `--extract` accepts. `judge` applies them."""

_SEVERAL = ("tw-grpo", "whole")
_OPEN = (*_SEVERAL, "tempcompass", "video-mmmu")


def judge(rule: str, reply: str, gold: Gold) -> Verdict:
    """Returns the verdict of `RULES[rule]`, or of `strict` for questions that the rule's script does not have.

    These are open questions, and questions with several right options.
    """
    if len(gold.letters) != 1 and rule not in (_SEVERAL if gold.letters else _OPEN):
        rule = "strict"
    return RULES[rule](reply, gold)


def rules_named(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the rules that `--extract` names, each once; "all" is every rule. Raises UsageError for other names."""
    rules: dict[str, None] = {}
    for name in names:
        if name != "all" and name not in RULES:
            raise UsageError(f"--extract {name}: use one of {', '.join(RULES)}, all")
        rules |= dict.fromkeys(RULES if name == "all" else [name])
    return tuple(rules)
