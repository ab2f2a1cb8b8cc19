"""Truth in all the forms benchmarks write it, and what is no truth at all."""

from __future__ import annotations

import pytest

from vtcli.errors import DataError
from vtcli.scoring.gold import resolve

OPTIONS = ["A. ten", "B. five", "C. twelve"]


@pytest.mark.parametrize(
    "answer", ["B", "(B)", "b", "B.", "[B]", "B. five", "(B) five", "<answer>B</answer>", " five ", "Five", "B. Five."]
)
def test_one_option_in_every_form(answer: str) -> None:
    gold = resolve(answer, OPTIONS)
    assert (gold.letters, gold.text, gold.options) == ({"B"}, "five", ("ten", "five", "twelve"))


@pytest.mark.parametrize(("options", "form"), [(["x", "y"], "index"), ({"A": "x", "B": "y"}, "any")])
def test_index_and_labelled_options(options: object, form: str) -> None:
    assert resolve(1 if form == "index" else "y", options, form).letters == {"B"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("D", OPTIONS),
        ("fifty", OPTIONS),
        ("B. twelve", OPTIONS),
        ("", OPTIONS),
        (None, OPTIONS),
        (True, OPTIONS),
        (["B"], OPTIONS),
        ("same", ["same", "same"]),
        ("A", ["B", "A"]),
        ("x", {"B": "x", "A": "y"}),
        ("x", "xy"),
        ("x", ["x", 3]),
        ("x", [str(n) for n in range(27)]),
        ("<answer></answer>", ()),
    ],
)
def test_what_is_not_exactly_one_option_is_refused(answer: object, options: object) -> None:
    with pytest.raises(DataError):
        resolve(answer, options)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [5, -1, "x", True, None])
def test_what_is_no_index_is_refused(answer: object) -> None:
    with pytest.raises(DataError):
        resolve(answer, ["x", "y"], "index")


def test_the_form_decides_where_a_text_looks_like_a_letter() -> None:
    assert resolve("A", ["B", "A"], "letter").letters == {"A"}
    assert resolve("A", ["B", "A"], "text").letters == {"B"}


def test_several_right_options() -> None:
    for answer in ("A,C", "(A),(C)", "<answer>A, C</answer>", ["A", "C"], ["ten", "C. twelve"]):
        assert resolve(answer, OPTIONS, several=True).letters == {"A", "C"}
    with pytest.raises(DataError):
        resolve("A,A", OPTIONS, several=True)
    with pytest.raises(DataError):
        resolve("A,D", OPTIONS, several=True)


def test_blank_options_are_none() -> None:
    assert resolve("Kitchen", {"A": "", "B": " "}).text == "Kitchen"
    assert resolve("Kitchen", {"A": "", "B": " "}).options == ()


def test_without_options() -> None:
    assert resolve("C").letters == {"C"}
    assert (resolve("C. text").letters, resolve("C. text").text) == ({"C"}, "text")
    assert (resolve("a man walks").letters, resolve("a man walks").text) == (frozenset(), "a man walks")
    assert resolve("C", form="text").letters == frozenset()
    assert resolve(42).text == "42"
    with pytest.raises(DataError):
        resolve("no letter", form="letter")
