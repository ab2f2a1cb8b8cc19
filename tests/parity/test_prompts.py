"""The paper's prompt with the real tokenizer: token for token what the reference's processor makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.parity import runs
from vtcli.models.tokenizer import Tokenizer
from vtcli.prompt import build_prompt

pytest.importorskip("tokenizers")
pytestmark = [pytest.mark.parity, pytest.mark.skipif(runs.python() is None, reason="no reference: `make parity`")]

_SUBJECTS = ("he", "the woman in red", "它", "the dog 🐕", "l'équipe", "кошка", "فريق", "@user_42", "x² + y²", "Zoë")
_QUESTIONS = (
    "Why did {} leave?",
    "  What does {} do at 00:12–00:15,\n\tand   what then?  ",
    "Is {} in <time>00:02-00:04</time> </think> <answer>B</answer>?",
    "How many times (3,141 or 2.7e3) does {} jump?\n\n",
    "{}… don't, we'll, IT'S “quoted”; \u00a0e\u0301 ﬁ 👨‍👩‍👧?",
)
OPTIONS = ((), ("rain", "it's cold"), ("A. yes", "东京", " 7 ", "🎬"), tuple("abcdefghijkl"))
QUESTIONS = [question.format(subject) for question in _QUESTIONS for subject in _SUBJECTS]


def test_fifty_prompts_are_tokenised_as_the_processor_does(material: Path, tmp_path: Path) -> None:
    folder = material / "tokenizer" / "qwen25vl_fblissjr"
    prompts = [build_prompt(q, OPTIONS[n % len(OPTIONS)]) for n, q in enumerate(QUESTIONS)]
    assert len(prompts) == 50
    job, out = tmp_path / "job.json", tmp_path / "ids.json"
    facts = {"checkpoint": str(folder), "prompts": [[p.system, p.user] for p in prompts], "out": str(out)}
    job.write_text(json.dumps(facts), encoding="utf-8")
    python = runs.python()
    assert python is not None
    script = Path(__file__).with_name("reference.py")
    subprocess.run([python, script, job], env=os.environ | {"PYTHONPATH": ""}, check=True)
    tokenizer = Tokenizer(folder)
    for prompt, (text, ids) in zip(prompts, json.loads(out.read_text(encoding="utf-8")), strict=True):
        assert tokenizer.encode_prompt(prompt) == (text, ids)
