"""Reinforcement learning rewards of one reply: Video-Thinker's, and Video-R1's by problem type.

Gold answers are the data's `solution` strings ("<answer>C</answer>"). Every reward is between 0 and 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vtcli.errors import UsageError
from vtcli.scoring.elements import contents
from vtcli.trace.format import format_ok

PROBLEM_TYPES = ("multiple choice", "numerical", "OCR", "free-form", "regression")


def paper_accuracy(reply: str, solution: str) -> float:
    """Video-Thinker's r_correct: whether the first `<answer>` equals the solution's, stripped.

    A reply without an answer earns nothing; taking its first letter instead would reward "A man walks".
    """
    given, truth = contents(reply), contents(solution)
    return float(bool(given) and given[0] == (truth[0] if truth else solution.strip()))


def paper_format(reply: str) -> float:
    """Video-Thinker's r_format (see `vtcli.trace.format`)."""
    return float(format_ok(reply))


def video_r1_accuracy(reply: str, solution: str, problem_type: str) -> float:
    """Video-R1's reward for one of `PROBLEM_TYPES`; free-form needs the package rouge-score.

    Raises UsageError for another type, or where rouge-score is missing.
    """
    if problem_type not in PROBLEM_TYPES:
        raise UsageError(f"problem_type {problem_type!r}: use one of {', '.join(PROBLEM_TYPES)}")
    given = (contents(reply, ignore_case=False) or [""])[0]
    truth = (contents(solution, ignore_case=False) or [""])[0]
    if problem_type == "multiple choice":
        return float(given.strip() == truth.strip())
    if problem_type == "OCR":
        return word_accuracy(truth, given)
    if problem_type == "free-form":
        return mean_rouge(truth, given)
    told, right = _number(given), _number(truth)
    if told is None or right is None:
        return 0.0
    if problem_type == "numerical":
        return float(_has_decimals(given) == _has_decimals(truth) and round(told, 2) == round(right, 2))
    return 1.0 - min(1.0, (abs(told - right) + 1e-9) / (abs(right) + 1e-9))


def video_r1_format(reply: str) -> float:
    """Video-R1's r_format: `<think>…</think>`, blanks, `<answer>…</answer>` and nothing around them.

    A Video-Thinker trace begins with free text, so it never earns this reward. With DOTALL both elements may contain
    anything, so a reply is right if it begins and ends like this and the two inner tags meet somewhere in between.
    """
    begins, ends = reply.startswith("<think>"), reply.endswith("</answer>")
    middle = reply[len("<think>") : len(reply) - len("</answer>")]
    return float(begins and ends and re.search(r"</think>\s*<answer>", middle) is not None)


def word_accuracy(reference: str, hypothesis: str) -> float:
    """Returns 1 minus the word error rate, at least 0."""
    return max(0.0, 1.0 - word_error_rate(reference, hypothesis))


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Returns the word edits from `reference` to `hypothesis` per word of `reference` (counted as at least one)."""
    wanted, given = reference.split(), hypothesis.split()
    return word_edits(wanted, given) / max(1, len(wanted))


def word_edits(wanted: Sequence[str], given: Sequence[str]) -> int:
    """Levenshtein distance between two sequences of words."""
    row = list(range(len(given) + 1))
    for i, word in enumerate(wanted, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(given, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def mean_rouge(reference: str, hypothesis: str) -> float:
    """Returns the mean F-measure of ROUGE-1, ROUGE-2 and ROUGE-L with stemming, by the package rouge-score.

    Raises UsageError where the package is missing.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UsageError('ROUGE needs the package rouge-score: pip install "vtcli[eval]"') from None
    names = ["rouge1", "rouge2", "rougeL"]
    scores = RougeScorer(names, use_stemmer=True).score(reference, hypothesis)
    return float(sum(scores[name].fmeasure for name in names) / len(names))


def _number(text: str) -> float | None:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None  # "nan" and "inf" are not answers


def _has_decimals(text: str) -> bool:
    return "." in text or "," in text
