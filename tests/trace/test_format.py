"""The format reward equals its published definition, and takes linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtcli.trace.format import format_ok

FLAGS = re.DOTALL | re.IGNORECASE
BLOCK = "<time>00:00-00:10</time> <caption>a</caption><think>b</think>"


def by_definition(text: str) -> bool:
    """The definition as its findall patterns."""
    blocks = len(re.findall(r"<time>.*?</time>\s*<caption>.*?</caption>\s*<think>.*?</think>", text, FLAGS))
    counts = [len(re.findall(f"<{name}>.*?</{name}>", text, FLAGS)) for name in ("time", "caption", "think")]
    return blocks > 0 and counts == [blocks] * 3 and len(re.findall("<answer>.*?</answer>", text, FLAGS)) == 1


PARTS = [f"<{slash}{name}>" for name in ("time", "caption", "think", "answer", "TIME", "thinK") for slash in ("", "/")]
soups = st.lists(st.sampled_from([*PARTS, BLOCK, BLOCK, "<answer>C</answer>", " ", "x", "<an\u017fwer>"]), max_size=14)


@settings(max_examples=500)
@given(soups.map("".join))
def test_as_defined(text: str) -> None:
    assert format_ok(text) == by_definition(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BLOCK + "<answer>C</answer>", True),
        ("Hmm " + BLOCK + " and " + BLOCK + " so C. <answer></answer> bye", True),
        (BLOCK.upper() + "<ANSWER>C</answer>", True),
        (BLOCK, False),
        ("<answer>C</answer>", False),
        ("<think>b</think><answer>C</answer>", False),
        (BLOCK + "<think>more</think><answer>C</answer>", False),
        (BLOCK + "<answer>C</answer><answer>C</answer>", False),
        (BLOCK.replace("> <", "> x <") + "<answer>C</answer>", False),
        (BLOCK + "<answer>C", False),
    ],
)
def test_examples(text: str, expected: bool) -> None:
    assert format_ok(text) is expected


@pytest.mark.parametrize("unit", ["<", "<time>", "<time></time>", "</time> ", "<time></time><caption>", BLOCK])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    began = time.process_time()
    format_ok("<answer></answer>" + unit * (2_000_000 // len(unit)))
    assert time.process_time() - began < 10
