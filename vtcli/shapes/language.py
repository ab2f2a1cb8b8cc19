"""What a perfect model would say about a scene, in the Video-Thinker format (figures 2, 4 and 6 of the paper).

The response walks through the clip in steps (free text), gives one `<time> <caption> <think>` block per event, names
the evidence for the answer, goes through the options if there are any, and ends with `<answer>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vtcli.shapes.world import FORMS, Event, Scene

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True)
class Truth:
    """One event in words: seconds from the clip's first frame, and the caption."""

    start: int
    end: int
    caption: str


def colour_at(scene: Scene, shape: int, event_number: int) -> str:
    """The shape's colour when event `event_number` begins (len(events): at the end)."""
    colour = scene.shapes[shape].colour
    for event in scene.events[:event_number]:
        if event.actor == shape and event.colour is not None:
            colour = event.colour
    return colour


def name(scene: Scene, shape: int, event_number: int = 0) -> str:
    """`red circle`, with the colour the shape has when event `event_number` begins."""
    return f"{colour_at(scene, shape, event_number)} {scene.shapes[shape].form}"


def caption(scene: Scene, number: int) -> str:
    """Event `number` as a clause: `the red circle moves left`."""
    event = scene.events[number]
    return f"the {name(scene, event.actor, number)} {_predicate(scene, event, number)}"


def _predicate(scene: Scene, event: Event, number: int) -> str:
    if event.kind == "move":
        return f"moves {event.direction}"
    if event.kind == "leave":
        return f"leaves going {event.direction}"
    if event.kind == "turn":
        return f"turns {event.colour}"
    if event.target is not None:
        out = "out going " if event.kind == "push_out" else ""
        return f"pushes the {name(scene, event.target, number)} {out}{event.direction}"
    return {"appear": "appears", "disappear": "disappears"}[event.kind]


def truth(scene: Scene) -> tuple[Truth, ...]:
    """The scene's events in order, in words."""
    return tuple(Truth(e.start, e.end, caption(scene, n)) for n, e in enumerate(scene.events))


def clock(seconds: int) -> str:
    """`MM:SS`, as in the paper's traces."""
    return f"{seconds // 60:02}:{seconds % 60:02}"


def spoken(number: int) -> str:
    """0 to 99 in words: `four`, `twenty-three`."""
    tens, ones = divmod(number, 10)
    if number < 20:
        return _NUMBERS[number]
    return _TENS[tens] + (f"-{_NUMBERS[ones]}" if ones else "")


def moment(seconds: int) -> str:
    """A whole second of the clip in words: `four seconds in`."""
    return f"{spoken(seconds)} second{'' if seconds == 1 else 's'} in"


def event_between(scene: Scene, start: float, end: float) -> int | None:
    """Returns the event visibly in progress between two frames at `start` and `end` seconds, or None."""
    for number, event in enumerate(scene.events):
        if min(end, event.end) - max(start, event.start) > 0.1 * (end - start):
            return number
    return None


def look(scene: Scene, times: Sequence[float], second_per_grid: float) -> str:
    """Returns the walk through the clip: one step per pair of frames, which says only what the two frames show.

    A step reads `2 red circle left.`: it is named by the whole second of its temporal position. `times`: the sampled
    frames' times in seconds.
    """
    steps = []
    for i in range(len(times) // 2):
        number = event_between(scene, times[2 * i], times[2 * i + 1])
        steps.append(f"{int(i * second_per_grid)} {'still' if number is None else _change(scene, number)}.")
    return f"At first: {_opening(scene)}. {' '.join(steps)} {closing(scene)}"


def closing(scene: Scene) -> str:
    """Describes the end of the clip; each form precedes its colour, because a question may ask for the colour."""
    last = len(scene.events)
    shown = [f"the {scene.shapes[s].form} is {colour_at(scene, s, last)}" for s in _inside(scene, scene.duration)]
    return f"At the end: {', '.join(shown) or 'nothing'}."


def _change(scene: Scene, number: int) -> str:
    """Describes what two neighbouring frames show of event `number`, but not whether a shape leaves or only moves."""
    event = scene.events[number]
    who = name(scene, event.actor, number)
    if event.target is not None:
        return f"{who} pushes {name(scene, event.target, number)} {event.direction}"
    return f"{who} {event.direction or event.colour or event.kind + 's'}"


def _opening(scene: Scene) -> str:
    return ", ".join(name(scene, shape) for shape in _inside(scene, 0.0)) or "nothing"


def _inside(scene: Scene, seconds: float) -> list[int]:
    """The shapes in view, circles first, then squares, then triangles."""
    return sorted(scene.present(seconds), key=lambda shape: FORMS.index(scene.shapes[shape].form))


def segments(scene: Scene) -> str:
    """Returns the `<time> <caption> <think>` blocks of all events, and the events in order.

    What a question may ask for (when something starts, what comes next) follows the caption by which it is looked up,
    in the words of the evidence: a small model copies what follows and does not look back.
    """
    blocks = []
    for fact in truth(scene):
        inside = len(scene.present(fact.end))
        blocks.append(
            f"<time>{clock(fact.start)}-{clock(fact.end)}</time> <caption>{fact.caption}</caption> "
            f"<think>{fact.caption}, starting {moment(fact.start)}, then {spoken(inside)} in view.</think>"
        )
    return f"{' '.join(blocks)} In order: {', '.join(in_order(scene))}."


def in_order(scene: Scene) -> list[str]:
    """Returns the captions, each after the word for its place: `first …`, `then …`, `and last …`."""
    places = ["first", *["then"] * (len(scene.events) - 2), "and last"]
    return [f"{place} {fact.caption}" for place, fact in zip(places, truth(scene), strict=False)]


def conclusion(evidence: str, answer: str, choices: Sequence[str]) -> str:
    """Returns the text from the evidence to `<answer>`: the option's letter if there are choices, else the answer.

    It lists the options one per line as in the prompt, but repeats the letter after each text, so that the answer's
    letter follows its words.
    """
    said = answer
    told = f"{evidence} The answer is {answer}.".lstrip()
    if choices:
        letters = [chr(ord("A") + i) for i in range(len(choices))]
        said = letters[list(choices).index(answer)]
        walk = [f"{letter}. {choice} ({letter})" for letter, choice in zip(letters, choices, strict=True)]
        told = "\n".join([told, *walk, f"So {answer} ({said})."])
    return f"{told} <answer>{said}</answer>"


def response(
    scene: Scene, times: Sequence[float], second_per_grid: float, evidence: str, answer: str, choices: Sequence[str]
) -> str:
    """The whole text a perfect model would write for one question."""
    return f"{look(scene, times, second_per_grid)} {segments(scene)} {conclusion(evidence, answer, choices)}"
