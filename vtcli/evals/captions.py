"""Captioning: BLEU@1, METEOR and ROUGE-L of what a model wrote against one reference, by the field's own packages.

The paper names the three metrics (table 3) but neither their packages nor their tokenisation, so that only figures by
the same packages compare: sacrebleu, rouge-score and nltk (whose METEOR needs the WordNet data).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from vtcli.errors import UsageError
from vtcli.trace.model import parse_trace

INSTALL = 'captioning scores need the packages sacrebleu, rouge-score and nltk: pip install "vtcli[eval]"'
WORDNET = "METEOR needs WordNet: python -m nltk.downloader wordnet"


def caption_of(reply: str) -> str:
    """The description in a reply: its captions, else its answer."""
    trace = parse_trace(reply)
    return " ".join(segment.caption for segment in trace.segments if segment.caption) or trace.answer


def require_packages() -> None:
    """Raises UsageError where the packages are missing."""
    try:
        for name in ("nltk.translate.meteor_score", "rouge_score.rouge_scorer", "sacrebleu.metrics.bleu"):
            import_module(name)
    except ImportError:
        raise UsageError(INSTALL) from None


def caption_record(replies: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """`bleu@1` with brevity penalty (over all), `rouge_l` and `meteor` (means), in percent; `meteor` may be None.

    Raises UsageError where the packages are missing.
    """
    require_packages()
    from nltk.translate.meteor_score import meteor_score
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    texts = [caption_of(reply) for reply in replies]
    bleu = BLEU(max_ngram_order=1, lowercase=True).corpus_score(texts, [list(references)])
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [scorer.score(right, told)["rougeL"].fmeasure for right, told in zip(references, texts, strict=True)]
    try:
        pairs = zip(references, texts, strict=True)
        meteor = [meteor_score([right.lower().split()], told.lower().split()) for right, told in pairs]
    except LookupError:  # nltk's data is downloaded apart
        meteor = []
    return {
        "n": len(texts),
        "bleu@1": round(bleu.score, 4),
        "rouge_l": round(100 * sum(rouge) / len(rouge), 4),
        "meteor": round(100 * sum(meteor) / len(meteor), 4) if meteor else None,
    }
