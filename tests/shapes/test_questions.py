"""Every question has one right answer, among its options once, and the response ends in it."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from vtcli.prompt import build_prompt
from vtcli.shapes.demo import demo_question, demo_scene
from vtcli.shapes.language import (
    caption,
    closing,
    colour_at,
    conclusion,
    look,
    moment,
    response,
    segments,
    spoken,
    truth,
)
from vtcli.shapes.questions import CHOICES, pick, questions, with_choices
from vtcli.shapes.world import make_scene, split_seed

SCENES = [make_scene(split_seed("test", n), duration) for n in range(100) for duration in (6.0, 8.0, 24.0)]
KINDS = {"way", "first", "last", "next", "colour", "count", "when", "why"}


def test_every_kind_of_question_occurs() -> None:
    assert {question.kind for scene in SCENES for question in questions(scene)} == KINDS


def test_a_text_is_asked_once_so_its_answer_is_the_only_one() -> None:
    for scene in SCENES:
        texts = [question.text for question in questions(scene)]
        assert len(set(texts)) == len(texts)


def test_options_hold_the_answer_once_and_letters_are_spread() -> None:
    places = [0] * CHOICES
    for number, scene in enumerate(SCENES):
        question = pick(scene, random.Random(number), multiple_choice=True)
        assert question.choices.count(question.answer) == 1
        assert len(set(question.choices)) == len(question.choices) == CHOICES
        places[question.choices.index(question.answer)] += 1
    assert min(places) > len(SCENES) / CHOICES * 0.6


def test_answers_follow_from_the_truth() -> None:
    for scene in SCENES:
        told = truth(scene)
        for question in questions(scene):
            if question.kind == "first":
                assert question.answer == told[0].caption
            elif question.kind == "last":
                assert question.answer == told[-1].caption
            elif question.kind == "count":
                assert question.answer == spoken(len(scene.present(scene.duration)))
            elif question.kind == "when":
                assert question.answer in {moment(fact.start) for fact in told}
                assert question.evidence.endswith(f", starting {question.answer}.")
            elif question.kind == "next":
                before, after = re.split(", (?:then|and last) ", question.evidence.removesuffix("."))
                captions = [fact.caption for fact in told]
                assert (before.lower(), after) in pairwise(captions) and after == question.answer
                assert question.text == f"What happens next after {before.lower()}?"
            elif question.kind == "way":
                assert any(question.answer in fact.caption for fact in told)
            elif question.kind == "why":
                assert question.answer == "it left by itself" or "pushes" in question.evidence


def test_the_response_is_a_complete_trace_that_ends_in_the_answer() -> None:
    for number, scene in enumerate(SCENES):
        rng = random.Random(number)
        question = pick(scene, rng, multiple_choice=bool(number % 2))
        times = [i * scene.duration / 16 for i in range(16)]
        text = response(scene, times, scene.duration / 8, question.evidence, question.answer, question.choices)
        for fact in truth(scene):
            assert f"<time>00:{fact.start:02}-00:{fact.end:02}</time> <caption>{fact.caption}</caption>" in text
        assert text.count("<think>") == len(scene.events)
        answer = text.split("<answer>")[1].removesuffix("</answer>")
        if question.choices:
            answer = question.choices["ABCD".index(answer)]
        assert answer == question.answer


def test_options_are_gone_through_as_the_prompt_writes_them() -> None:
    for number, scene in enumerate(SCENES):
        question = pick(scene, random.Random(number), multiple_choice=True)
        lines = conclusion(question.evidence, question.answer, question.choices).split("\n")
        prompt = build_prompt(question.text, question.choices).user.split("\n")
        assert lines[1:-1] == [f"{line} ({line[0]})" for line in prompt if line[1:3] == ". "]
        letter = "ABCD"[question.choices.index(question.answer)]
        assert lines[-1] == f"So {question.answer} ({letter}). <answer>{letter}</answer>"


def test_what_is_asked_for_stands_behind_what_it_is_looked_up_by() -> None:
    """Every answer that follows from the segments or the last look is found there by the words of its evidence."""
    found = set()
    for scene in SCENES:
        told = f"{closing(scene)} {segments(scene)}".lower()
        for question in questions(scene):
            if question.kind in ("first", "last", "next") or question.text.endswith("at the end?"):
                if question.kind == "count":
                    continue
                evidence = question.evidence.lower().removesuffix(".")
                assert evidence in told and evidence.endswith(question.answer), question
                found.add(question.kind)
    assert found == {"first", "last", "next", "colour"}


def test_numbers_are_told_in_words() -> None:
    assert [spoken(n) for n in (0, 1, 12, 20, 24)] == ["zero", "one", "twelve", "twenty", "twenty-four"]
    assert (moment(1), moment(23)) == ("one second in", "twenty-three seconds in")
    assert len({spoken(n) for n in range(100)}) == 100


def test_a_changed_colour_is_used_from_then_on() -> None:
    scene, number = next((s, n) for s in SCENES for n, e in enumerate(s.events) if e.kind == "turn")
    event = scene.events[number]
    assert colour_at(scene, event.actor, number) != event.colour == colour_at(scene, event.actor, number + 1)
    assert caption(scene, number).endswith(f"turns {event.colour}")


def test_the_walk_names_every_pair_of_frames() -> None:
    scene = make_scene(split_seed("test", 1), duration=24.0)
    text = look(scene, [i * 1.5 for i in range(16)], 3.0)
    for second in range(0, 24, 3):
        assert f" {second} " in text


def test_wrong_options_do_not_depend_on_the_process() -> None:
    scene = SCENES[5]
    question = questions(scene)[0]
    assert with_choices(scene, question, random.Random(1)) == with_choices(scene, question, random.Random(1))


def test_the_demo_asks_why_a_pushed_shape_left() -> None:
    assert any(event.kind == "push_out" for event in demo_scene().events)
    assert demo_question().answer.endswith("pushed it")
    with pytest.raises(StopIteration):
        next(iter(demo_question().choices))
