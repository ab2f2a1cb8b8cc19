"""Captioning scores: BLEU@1, METEOR and ROUGE-L of a model's text against one reference, by the standard packages.

The paper names the three metrics (table 3) but neither their packages nor their tokenisation, so only figures from the
same packages are comparable. These are sacrebleu over words split as COCO's scripts split them (which makes it their
Bleu_1), rouge-score, and nltk, whose METEOR is the one of Hugging Face's `evaluate`. It is not METEOR 1.5, the Java
program that the scripts of ActivityNet Captions and YouCook2 call: METEOR 1.5 also knows paraphrases and weights words
differently.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from vtcli.errors import UsageError
from vtcli.trace.model import parse_trace

INSTALL = 'captioning scores need the packages sacrebleu, rouge-score and nltk: pip install "vtcli[eval]"'
WORDNET = "METEOR needs WordNet: python -m nltk.downloader wordnet, or apt install wordnet-base; then vt eval report"

# The tokens that COCO's PTBTokenizer leaves out.
_PUNCTUATION = frozenset(["''", "'", "``", "`", "(", ")", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_FULL_STOP = re.compile(r"(?<!\.)\.(?=\s)")


def caption_of(reply: str) -> str:
    """Returns the description in a reply: its captions, else its answer."""
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
    """Returns `bleu@1`, `rouge_l` and `meteor` in percent.

    `bleu@1` is one score over all replies, with brevity penalty; `rouge_l` and `meteor` are means. `meteor` is None
    where WordNet is missing (`WORDNET` says what to do). Raises UsageError where the packages are missing.
    """
    require_packages()
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    texts = [caption_of(reply) for reply in replies]
    told, right = [words(text) for text in texts], [words(text) for text in references]
    bleu = BLEU(max_ngram_order=1, tokenize="none", force=True)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [scorer.score(*pair)["rougeL"].fmeasure for pair in zip(references, texts, strict=True)]
    net = _wordnet()
    pairs = zip(right, told, strict=True)
    meteor = None if net is None else [single_meteor_score(*pair, wordnet=net) for pair in pairs]
    return {
        "n": len(texts),
        "bleu@1": round(bleu.corpus_score([*map(" ".join, told)], [[*map(" ".join, right)]]).score, 4),
        "rouge_l": round(100 * sum(rouge) / len(rouge), 4),
        "meteor": None if meteor is None else round(100 * sum(meteor) / len(meteor), 4),
    }


def words(text: str) -> list[str]:
    """Returns the words of a caption in lower case, split as in the Penn Treebank, without punctuation."""
    from nltk.tokenize import NLTKWordTokenizer

    # The tokenizer expects one sentence: it keeps a full stop inside the text as part of a word.
    tokens = NLTKWordTokenizer().tokenize(_FULL_STOP.sub(" .", text.lower()))
    return [token for token in tokens if token not in _PUNCTUATION]


def _wordnet() -> Any:
    """Returns WordNet 3.0 from nltk's download, else from the system's package; None without either."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _installed_wordnet(Path(os.environ.get("WNSEARCHDIR", "/usr/share/wordnet")))
    return wordnet


@lru_cache(1)
def _installed_wordnet(folder: Path) -> Any:
    """Returns nltk's reader over WordNet's own database; its packages omit two files that METEOR does not need."""
    from io import StringIO

    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Installed(WordNetCorpusReader):  # type: ignore[misc]
        def open(self, file: str) -> Any:
            if file == "lexnames":  # the names of WordNet's 45 lexicographer files
                return StringIO("".join(f"{number:02} unnamed 0\n" for number in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Does nothing: no other version is mapped to (by the sense index)."""

    nltk.data.path.append(str(folder))  # nltk reads from folders in this list only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about missing other languages
            net = Installed(str(folder), None)
        return net if net.get_version() == "3.0" else None
    except (OSError, ValueError):
        return None
