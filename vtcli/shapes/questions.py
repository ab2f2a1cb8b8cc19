"""Questions about a scene whose answers follow from its truth; each can be asked open or as multiple choice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from vtcli.shapes.language import caption, colour_at, in_order, moment, name, spoken
from vtcli.shapes.world import COLOURS, DIRECTIONS, FORMS, Event, Scene

CHOICES = 4
"""Options of a multiple-choice question."""


@dataclass(frozen=True)
class Question:
    """`kind` groups questions in reports; `evidence` is the sentence the answer follows from.

    `choices` is empty for an open question; otherwise the answer's text is one of them.
    """

    kind: str
    text: str
    answer: str
    evidence: str = ""
    choices: tuple[str, ...] = ()


def questions(scene: Scene) -> tuple[Question, ...]:
    """All open questions that have exactly one right answer."""
    return tuple(question for ask in _ASKERS for question in ask(scene))


def pick(scene: Scene, rng: random.Random, multiple_choice: bool) -> Question:
    """Draws a question; every kind that the scene allows is equally likely."""
    every = questions(scene)
    kind = rng.choice(sorted({q.kind for q in every}))
    question = rng.choice([q for q in every if q.kind == kind])
    return with_choices(scene, question, rng) if multiple_choice else question


def with_choices(scene: Scene, question: Question, rng: random.Random) -> Question:
    """The same question with plausible wrong options, shuffled."""
    wrong = sorted(set(_WRONG[question.kind](scene, question, rng)) - {question.answer})
    options = [question.answer, *rng.sample(wrong, min(CHOICES - 1, len(wrong)))]
    rng.shuffle(options)
    return Question(question.kind, question.text, question.answer, question.evidence, tuple(options))


def _sentence(scene: Scene, number: int) -> str:
    return _capital(caption(scene, number)) + "."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _only(scene: Scene, test: Callable[[Event], bool]) -> int | None:
    found = [n for n, event in enumerate(scene.events) if test(event)]
    return found[0] if len(found) == 1 else None


def _way(scene: Scene) -> Iterator[Question]:
    for shape in range(len(scene.shapes)):
        number = _only(scene, lambda e, s=shape: s in (e.actor, e.target) and e.direction is not None)  # type: ignore[misc]
        if number is not None:
            event = scene.events[number]
            assert event.direction is not None
            who = name(scene, shape, number)
            yield Question("way", f"Which way does the {who} go?", event.direction, _sentence(scene, number))


def _order(scene: Scene) -> Iterator[Question]:
    last = len(scene.events) - 1
    if last < 1:
        return
    placed = in_order(scene)
    yield Question("first", "What happens first?", caption(scene, 0), f"In order: {placed[0]}.")
    yield Question("last", "What happens last?", caption(scene, last), f"{_capital(placed[last])}.")
    said = [caption(scene, number) for number in range(last + 1)]
    for number, (before, after) in enumerate(pairwise(said)):
        if said.count(before) == 1:
            evidence = f"{_capital(before)}, {placed[number + 1]}."
            yield Question("next", f"What happens next after {before}?", after, evidence)


def _colour(scene: Scene) -> Iterator[Question]:
    for number, event in enumerate(scene.events):
        if event.colour is not None:
            text = f"Which colour does the {name(scene, event.actor, number)} turn?"
            if _only(scene, lambda e, a=event.actor: e.actor == a and e.colour is not None) is not None:  # type: ignore[misc]
                yield Question("colour", text, event.colour, _sentence(scene, number))
    for shape in scene.present(scene.duration):
        form = scene.shapes[shape].form
        colour = colour_at(scene, shape, len(scene.events))
        yield Question("colour", f"Which colour is the {form} at the end?", colour, f"The {form} is {colour}.")


def _count(scene: Scene) -> Iterator[Question]:
    inside = len(scene.present(scene.duration))
    yield Question("count", "How many shapes are in view at the end?", spoken(inside))


_VERBS = {
    "move": "move",
    "leave": "leave",
    "appear": "appear",
    "disappear": "disappear",
    "turn": "change colour",
    "push": "push",
    "push_out": "push",
}


def _when(scene: Scene) -> Iterator[Question]:
    for number, event in enumerate(scene.events):
        verb = _VERBS[event.kind]
        if _only(scene, lambda e, a=event.actor, v=verb: e.actor == a and _VERBS[e.kind] == v) is None:  # type: ignore[misc]
            continue
        what = f" the {name(scene, event.target, number)}" if event.target is not None else ""
        text = f"When does the {name(scene, event.actor, number)} start to {verb}{what}?"
        evidence = f"{_sentence(scene, number)[:-1]}, starting {moment(event.start)}."
        yield Question("when", text, moment(event.start), evidence)


def _why(scene: Scene) -> Iterator[Question]:
    for number, event in enumerate(scene.events):
        if event.kind == "leave":
            who, because = event.actor, "it left by itself"
        elif event.kind == "push_out":
            assert event.target is not None
            who, because = event.target, f"the {name(scene, event.actor, number)} pushed it"
        else:
            continue
        text = f"Why did the {name(scene, who, number)} leave?"
        yield Question("why", text, because, _sentence(scene, number))


_ASKERS: tuple[Callable[[Scene], Iterator[Question]], ...] = (_way, _order, _colour, _count, _when, _why)


def _wrong_captions(scene: Scene, question: Question, rng: random.Random) -> Iterator[str]:
    """Yields the captions of all events, and the right answer with one word changed."""
    for number in range(len(scene.events)):
        yield caption(scene, number)
    words = question.answer.split()
    for family in (tuple(DIRECTIONS), COLOURS, FORMS):
        for i, word in enumerate(words):
            if word in family:
                other = rng.choice([w for w in family if w not in words])
                yield " ".join([*words[:i], other, *words[i + 1 :]])


def _wrong_reasons(scene: Scene, question: Question, rng: random.Random) -> Iterator[str]:
    yield "it left by itself"
    asked = question.text.removeprefix("Why did the ").removesuffix(" leave?").split()
    free = [f"{c} {f}" for c in COLOURS for f in FORMS if c not in asked and f not in asked]
    for other in rng.sample(free, CHOICES - 1):
        yield f"the {other} pushed it"


def _wrong_times(scene: Scene, question: Question, rng: random.Random) -> Iterator[str]:
    yield from (moment(second) for second in range(int(scene.duration)))


_WRONG: dict[str, Callable[[Scene, Question, random.Random], Iterator[str]]] = {
    "way": lambda *_: iter(DIRECTIONS),
    "first": _wrong_captions,
    "last": _wrong_captions,
    "next": _wrong_captions,
    "colour": lambda *_: iter(COLOURS),
    "count": lambda *_: iter([spoken(n) for n in range(5)]),
    "when": _wrong_times,
    "why": _wrong_reasons,
}
