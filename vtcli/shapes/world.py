"""Scenes: two or three coloured shapes in a unit square, and the one to three events that happen to them.

Everything is drawn from one integer seed. Events never overlap in time and begin and end at whole seconds, so a
`MM:SS` time range can state the truth exactly. Coordinates run from 0 to 1, x to the right and y down.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["move", "leave", "appear", "disappear", "turn", "push", "push_out"]
Split = Literal["train", "validation", "test"]
Point = tuple[float, float]

COLOURS: tuple[str, ...] = ("red", "green", "blue", "yellow", "white", "purple")
FORMS: tuple[str, ...] = ("circle", "square", "triangle")
DIRECTIONS: dict[str, Point] = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
FRAME_RATES: tuple[float, ...] = (8.0, 10.0, 12.0, 15.0, 24.0, 25.0, 30.0)

RADIUS = 0.115
"""Half the size of a shape; 13 pixels of the 112 that the embedded model sees."""
CLEARANCE = 2 * RADIUS + 0.05
"""Least distance between two centres, except those of a pushing pair."""
MARGIN = 0.15
"""Least distance of a resting centre from the edge."""

_SPLIT_BITS = 40
_SPLITS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Shape:
    """A shape at the beginning of the scene; `start` is its centre, `hidden` means that it appears later."""

    colour: str
    form: str
    start: Point
    hidden: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happens from second `start` to second `end` to the shape number `actor`.

    `path` is the path of the actor's centre. For a push, `target` is the other shape and `target_path` its path;
    `colour` is the new colour of a turn.
    """

    kind: Kind
    actor: int
    start: int
    end: int
    direction: str | None = None
    colour: str | None = None
    target: int | None = None
    path: tuple[Point, Point] | None = None
    target_path: tuple[Point, Point] | None = None


@dataclass(frozen=True)
class State:
    """One shape at one moment: centre, scale 0..1, colour, and the share of a new colour spreading from inside."""

    centre: Point
    scale: float
    colour: str
    new_colour: str | None = None
    spread: float = 0.0


@dataclass(frozen=True)
class Scene:
    """The complete ground truth of a clip. `duration` in seconds, `fps` in frames per second."""

    seed: int
    duration: float
    fps: float
    background: tuple[int, int, int]
    shapes: tuple[Shape, ...]
    events: tuple[Event, ...]

    @property
    def frames(self) -> int:
        """Number of frames of the rendered clip."""
        return round(self.duration * self.fps)

    def state(self, shape: int, time: float) -> State | None:
        """The shape at `time` seconds, or None while it is not in the picture."""
        first = self.shapes[shape]
        now: State | None = None if first.hidden else State(first.start, 1.0, first.colour)
        for event in self.events:
            if event.start >= time:
                break
            done = min(1.0, (time - event.start) / (event.end - event.start))
            if event.actor == shape:
                now = _after_own(event, now or State(first.start, 0.0, first.colour), done)
            elif event.target == shape and now is not None:
                now = _after_push(event, now, done)
        return now

    def present(self, time: float) -> tuple[int, ...]:
        """Numbers of the shapes in the picture at `time`."""
        return tuple(i for i in range(len(self.shapes)) if self.state(i, time) is not None)


def _between(path: tuple[Point, Point], done: float) -> Point:
    (x0, y0), (x1, y1) = path
    return x0 + (x1 - x0) * done, y0 + (y1 - y0) * done


def _after_own(event: Event, state: State, done: float) -> State | None:
    if event.kind in ("move", "leave", "push", "push_out"):
        assert event.path is not None
        if event.kind == "leave" and done >= 1:
            return None
        return replace(state, centre=_between(event.path, done))
    if event.kind == "appear":
        return replace(state, scale=done)
    if event.kind == "disappear":
        return replace(state, scale=1 - done) if done < 1 else None
    assert event.colour is not None
    if done >= 1:
        return replace(state, colour=event.colour)
    return replace(state, new_colour=event.colour, spread=done)


def _after_push(event: Event, state: State, done: float) -> State | None:
    """The pushed shape rests until it is touched, then keeps its distance from the pusher."""
    assert event.path is not None and event.target_path is not None and event.direction is not None
    if event.kind == "push_out" and done >= 1:
        return None
    (ax, ay), (dx, dy) = _between(event.path, done), DIRECTIONS[event.direction]
    rest = event.target_path[0]
    ahead = (ax - rest[0]) * dx + (ay - rest[1]) * dy + 2 * RADIUS
    return replace(state, centre=(rest[0] + dx * max(0.0, ahead), rest[1] + dy * max(0.0, ahead)))


def split_seed(split: Split, number: int) -> int:
    """Returns the seed of clip `number` of a split; the seeds of different splits never coincide."""
    if not 0 <= number < 1 << _SPLIT_BITS:
        raise ValueError(f"clip number {number} is outside 0..2^{_SPLIT_BITS}")
    return (_SPLITS[split] << _SPLIT_BITS) + number


def make_scene(seed: int, duration: float = 8.0, fps: float | None = None) -> Scene:
    """Draws the scene of `seed`; the same seed, duration and fps give the same scene on every machine."""
    rng = random.Random(seed)
    rate = fps or rng.choice(FRAME_RATES)
    background = (rng.randint(20, 45), rng.randint(20, 45), rng.randint(25, 60))
    while True:
        shapes, pair = _draw_shapes(rng)
        slots = _draw_slots(rng, duration)
        events = _draw_events(rng, shapes, pair, slots)
        if events is not None:
            return Scene(seed, duration, rate, background, shapes, events)


def _draw_slots(rng: random.Random, duration: float) -> list[tuple[int, int]]:
    """Whole-second intervals in order, each long enough to be seen in 16 evenly spread frames."""
    group = duration / 8
    shortest, longest = max(2, math.ceil(1.5 * group)), max(3, round(3 * group))
    room = math.floor(duration)
    wanted = rng.choice((1, 2, 2, 3, 3, 3))
    while True:
        lengths = [rng.randint(shortest, longest) for _ in range(wanted)]
        slack = room - sum(lengths)
        if slack >= 0:
            break
        if wanted * shortest > room:
            wanted -= 1
    cuts = sorted(rng.randint(0, slack) for _ in range(wanted))
    slots, used = [], 0
    for cut, length in zip(cuts, lengths, strict=True):
        slots.append((cut + used, cut + used + length))
        used += length
    return slots


def _draw_shapes(rng: random.Random) -> tuple[tuple[Shape, ...], tuple[int, int, str] | None]:
    """Shapes that differ in form and colour; `pair` names a pusher, the pushed and the direction, or is None."""
    count = rng.choice((2, 3, 3))
    forms, colours = rng.sample(FORMS, count), rng.sample(COLOURS, count)
    while True:
        centres = [(rng.uniform(MARGIN, 1 - MARGIN), rng.uniform(MARGIN, 1 - MARGIN)) for _ in range(count)]
        if rng.random() < 0.4:
            pusher, pushed = rng.sample(range(count), 2)
            direction = rng.choice(tuple(DIRECTIONS))
            (x, y), (dx, dy) = centres[pusher], DIRECTIONS[direction]
            reach = 2 * RADIUS + rng.uniform(0.01, 0.05)
            centres[pushed] = (x + dx * reach, y + dy * reach)
            pair = (pusher, pushed, direction)
        else:
            pair = None
        paired = set(pair[:2]) if pair else set()
        apart = all(
            math.dist(centres[i], centres[j]) >= CLEARANCE or {i, j} == paired for i in range(count) for j in range(i)
        )
        if apart and all(MARGIN - 0.02 <= v <= 1 - MARGIN + 0.02 for c in centres for v in c):
            break
    hidden = rng.randrange(count) if rng.random() < 0.35 else None
    if hidden is not None and pair is not None and hidden in pair[:2]:
        hidden = None
    shapes = tuple(
        Shape(colour, form, centre, i == hidden)
        for i, (colour, form, centre) in enumerate(zip(colours, forms, centres, strict=True))
    )
    return shapes, pair


def _draw_events(
    rng: random.Random,
    shapes: tuple[Shape, ...],
    pair: tuple[int, int, str] | None,
    slots: Sequence[tuple[int, int]],
) -> tuple[Event, ...] | None:
    """Draws one event per slot; None where the draws lead to a dead end."""
    centres = [shape.start for shape in shapes]
    colours = [shape.colour for shape in shapes]
    gone: set[int] = set()
    hidden = {i for i, shape in enumerate(shapes) if shape.hidden}
    events: list[Event] = []
    must: list[Kind] = [*(["push"] if pair else []), *(["appear"] if hidden else [])]  # type: ignore[list-item]
    if len(must) > len(slots):
        return None
    kinds: list[Kind] = must + rng.choices(
        ("move", "leave", "disappear", "turn"), weights=(4, 3, 2, 3), k=len(slots) - len(must)
    )
    rng.shuffle(kinds)
    for kind, (start, end) in zip(kinds, slots, strict=True):
        able = [i for i in range(len(shapes)) if i not in gone and i not in hidden]
        event: Event | None = None
        if kind == "appear":
            event = Event("appear", hidden.pop(), start, end)
        elif kind == "push":
            assert pair is not None
            pusher, pushed, direction = pair
            untouched = all(centres[i] == shapes[i].start and i not in gone for i in (pusher, pushed))
            event = _push(rng, pusher, pushed, direction, centres, gone, start, end) if untouched else None
        elif able:
            actor = rng.choice(able)
            if kind == "turn":
                free = [c for c in COLOURS if c not in colours]
                event = Event("turn", actor, start, end, colour=rng.choice(free))
            elif kind == "disappear":
                event = Event("disappear", actor, start, end)
            else:
                event = _walk(rng, kind, actor, centres, gone, start, end)
        if event is None:
            return None
        if event.path is not None:
            centres[event.actor] = event.path[1]
        if event.target is not None and event.target_path is not None:
            centres[event.target] = event.target_path[1]
        if event.colour is not None:
            colours[event.actor] = event.colour
        if event.kind in ("leave", "disappear"):
            gone.add(event.actor)
        if event.kind == "push_out" and event.target is not None:
            gone.add(event.target)
        events.append(event)
    return tuple(events)


def _room(centre: Point, direction: str) -> float:
    """How far the centre can go before it reaches the resting margin."""
    x, y = centre
    return {"left": x, "right": 1 - x, "up": y, "down": 1 - y}[direction] - MARGIN


def _clear(path: tuple[Point, Point], movers: set[int], centres: Sequence[Point], gone: set[int]) -> bool:
    """Whether the straight path keeps clear of all shapes, hidden ones included, except those that move along it."""
    return all(
        math.dist(_between(path, step / 8), centre) >= CLEARANCE
        for i, centre in enumerate(centres)
        if i not in movers and i not in gone
        for step in range(9)
    )


def _walk(
    rng: random.Random, kind: Kind, actor: int, centres: Sequence[Point], gone: set[int], start: int, end: int
) -> Event | None:
    ways = []
    for direction, (dx, dy) in DIRECTIONS.items():
        x, y = centres[actor]
        room = _room((x, y), direction)
        if kind == "leave":
            length = room + MARGIN + RADIUS + 0.01
        elif room < 0.27:
            continue
        else:
            length = rng.uniform(0.27, min(0.55, room))
        path = ((x, y), (x + dx * length, y + dy * length))
        if _clear(path, {actor}, centres, gone):
            ways.append(Event(kind, actor, start, end, direction=direction, path=path))
    return rng.choice(ways) if ways else None


def _push(
    rng: random.Random,
    pusher: int,
    pushed: int,
    direction: str,
    centres: Sequence[Point],
    gone: set[int],
    start: int,
    end: int,
) -> Event | None:
    (dx, dy), (ax, ay), rest = DIRECTIONS[direction], centres[pusher], centres[pushed]
    gap = math.dist((ax, ay), rest) - 2 * RADIUS
    room = _room(rest, direction)
    out = room < 0.25 or rng.random() < 0.35
    shift = room + MARGIN + RADIUS + 0.01 if out else rng.uniform(0.25, min(0.5, room))
    path = ((ax, ay), (ax + dx * (gap + shift), ay + dy * (gap + shift)))
    target_path = (rest, (rest[0] + dx * shift, rest[1] + dy * shift))
    movers = {pusher, pushed}
    if not (_clear(path, movers, centres, gone) and _clear(target_path, movers, centres, gone)):
        return None
    kind: Kind = "push_out" if out else "push"
    return Event(kind, pusher, start, end, direction, target=pushed, path=path, target_path=target_path)
