"""Turns scenes into training batches. Frames are drawn at the model's size; worker processes feed the trainer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from vtcli.prompt import build_prompt
from vtcli.shapes.language import caption, closing, conclusion, event_between, look, segments
from vtcli.shapes.questions import Question, pick
from vtcli.shapes.render import render
from vtcli.shapes.world import COLOURS, DIRECTIONS, FORMS, Scene, Split, make_scene, split_seed
from vtcli.train.shapes import FRAMES, sample_times
from vtcli.train.tiny.checkpoint import SIZE

GROUPS = FRAMES // 2
CELLS = (SIZE // 28) ** 2
"""Video tokens per pair of frames."""
VIDEO_TOKENS = GROUPS * CELLS
USUAL_SECONDS = 8.0
LONGEST_SECONDS = 24

LENGTH_STEP = 32
"""Lengths are rounded up to a multiple of this, so that only few sizes of memory blocks are requested."""

MOTIONS: tuple[str, ...] = (
    "still", *DIRECTIONS, *(f"push {d}" for d in DIRECTIONS), *(f"pushed {d}" for d in DIRECTIONS),
    "appear", "disappear", "turn",
)  # fmt: skip
CELL_TARGETS = {"colour": len(COLOURS) + 1, "new": len(COLOURS) + 1, "form": len(FORMS) + 1, "motion": len(MOTIONS)}

Task = Literal["cells", "read", "see", "tell"]
"""What a sample teaches.

cells: pictures only. read: no clips, only practice on text. see: say what happens, without a question. tell: the same
when told to, in a chat.
"""
ORDERS = ("Tell what happens in the video.", "Describe the video second by second.", "What is to be seen here?")
Practice = Literal["copy", "letters", "conclude", "derive", "choose"]
"""What a text-only sample practises.

copy: random tokens that appear twice. letters: from options that are much alike to the letter of each. conclude: from
the segments to the answer. derive: from the walk to segments and answer. choose: from the answer to its letter. The
last three mostly have a short prompt.
"""
OPTIONS = 6
"""Options listed in `letters`."""


@dataclass(frozen=True)
class Sample:
    """One clip or text with what is to be learned from it; arrays are empty if a task does not use them."""

    frames: npt.NDArray[np.uint8]  # (16, 112, 112, 3)
    cells: npt.NDArray[np.int64]  # (4, 8, 16): colour, new colour, form and motion of each merged cell
    seconds: npt.NDArray[np.int64]  # (8,): whole second of each pair of frames
    steps: npt.NDArray[np.int64]  # (8,): temporal position of each pair, relative to the first
    ids: npt.NDArray[np.int64]  # what follows the video
    weights: npt.NDArray[np.float32]  # loss weight of each of `ids` as a target


def draw_duration(rng: random.Random) -> float:
    """Draws a duration: in six cases of ten 8 seconds, otherwise 6 to 24 seconds in half seconds."""
    return USUAL_SECONDS if rng.random() < 0.6 else rng.randint(12, 2 * LONGEST_SECONDS) / 2


def draw_clip(split: Split, number: int, seconds: float | None = None) -> tuple[Scene, random.Random]:
    """Returns clip `number` of a split and the random generator for what is asked about it.

    The clip's length is drawn unless `seconds` is given.
    """
    rng = random.Random(f"{split} {number}")
    return make_scene(split_seed(split, number), seconds or draw_duration(rng)), rng


class Maker:
    """Makes samples of one split; everything follows from the clip's number."""

    def __init__(self, tokenizer: Tokenizer, split: Split, seconds: float | None = None) -> None:
        self.tokenizer, self.split, self.seconds = tokenizer, split, seconds
        self.noise = np.random.default_rng(0).normal(0, 4, (FRAMES, SIZE, SIZE, 3)).astype(np.int16)

    def clip(self, number: int) -> tuple[Scene, random.Random]:
        return draw_clip(self.split, number, self.seconds)

    def sample(self, number: int, task: Task) -> Sample:
        """Makes the clip with the text that `task` asks for."""
        scene, rng = self.clip(number)
        times, per_grid = sample_times(scene)
        grid = np.arange(GROUPS, dtype=np.float32) * np.float32(per_grid)
        parts: list[tuple[str, float]] = []
        if task != "cells":
            seen = [(look(scene, times, per_grid), 1.5), (" " + segments(scene), 1.0)]
            if task == "see":
                parts = [("<|vision_end|>", 0.0), *seen]
            else:
                parts = [_turn(_order(rng)), *seen, ("<|im_end|>", 1.0)]
        ids, weights = self._encode(parts)
        frames = render(scene, times, SIZE).astype(np.int16) + np.roll(self.noise, rng.randrange(SIZE), axis=1)
        return Sample(
            frames=np.clip(frames + rng.randint(-6, 6), 0, 255).astype(np.uint8),
            cells=_cells(scene, times),
            seconds=grid.astype(np.int64),
            steps=(grid * np.float32(2)).astype(np.int64),
            ids=ids,
            weights=weights,
        )

    def practice(self, number: int, task: Practice) -> Sample:
        """Makes a text-only sample: from a given text to what follows from it."""
        if task == "copy":
            return _text_only(*self._twice(number))
        scene, rng = self.clip(number)
        if task == "letters":
            return _text_only(*self._encode(_letters(scene, rng)))
        question = pick(scene, rng, multiple_choice=task == "choose" or rng.random() < 0.6)
        if question.kind in ("colour", "way", "count") and rng.random() < 0.5:
            # One-word answers are soon learned: half of these questions are drawn again.
            question = pick(scene, rng, multiple_choice=bool(question.choices))
        user = build_prompt(question.text, question.choices).user
        if rng.random() < 0.8:
            user = user.split("\n\nPlease")[0]
        ending = _ending(question)
        if task == "derive":
            # Only a walk in whole seconds determines the segments exactly; other clips teach just the conclusion.
            told = look(scene, *sample_times(scene))
            learned = [(" " + segments(scene), 1.0 if scene.duration == USUAL_SECONDS else 0.0), *ending]
        elif task == "conclude":
            told, learned = f"{closing(scene)} {segments(scene)}", ending
        else:
            told = f"The answer is {question.answer}."
            learned = [(ending[0][0].split(told)[1], 1.0), *ending[1:]]
        given = f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{told}"
        return _text_only(*self._encode([(given, 0.0), *learned]))

    def _twice(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Returns 32 random tokens, up to 15 others, and the 32 again, all but the first few of which can be predicted.

        If the 32 are drawn from few tokens, only several preceding tokens together identify the place within the 32.
        """
        dice, words = np.random.default_rng(number), self.tokenizer.get_vocab_size(with_added_tokens=False)
        letters = dice.integers(words, size=dice.choice([5, 6, 8, 12, 200]))
        once, between = dice.choice(letters, 32), dice.integers(words, size=dice.integers(16))
        ids = np.concatenate([once, between, once])
        weights = np.zeros(len(ids), np.float32)
        weights[-27:] = 1.0
        return ids, weights

    def _encode(self, parts: Sequence[tuple[str, float]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Encodes the joined parts; each token has the weight of the part that its first character lies in."""
        text = "".join(part for part, _ in parts)
        by_character = np.repeat([weight for _, weight in parts], [len(part) for part, _ in parts])
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        weights = [by_character[start] for start, _ in encoding.offsets]
        return np.array(encoding.ids, np.int64), np.array(weights, np.float32)


def _text_only(ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> Sample:
    none = np.zeros((0,), np.int64)
    return Sample(np.zeros((0,), np.uint8), none, none, none, ids, weights)


def _turn(user: str) -> tuple[str, float]:
    """Returns the text between a video and the reply, which is not learned."""
    return f"<|vision_end|>{user}<|im_end|>\n<|im_start|>assistant\n", 0.0


def _order(rng: random.Random) -> str:
    """Returns one of `ORDERS` followed by the requested layout, or several of them.

    This puts the video some way back.
    """
    if rng.random() < 0.6:
        return build_prompt(rng.choice(ORDERS)).user
    return " ".join(rng.choice(ORDERS) for _ in range(rng.randint(1, 12)))


def _ending(question: Question) -> list[tuple[str, float]]:
    """Returns the conclusion and the end of the turn.

    The answer's own words and the letter found for it weigh most.
    """
    text = " " + conclusion(question.evidence, question.answer, question.choices)
    before, answer = text.split("<answer>")
    said = answer.removesuffix("</answer>")
    parts = [(before, 1.0)]
    if question.choices:
        letter = before.rindex("(") + 1
        parts = [(before[:letter], 1.0), (before[letter], 3.0), (before[letter + 1 :], 1.0)]
    return [*parts, ("<answer>", 1.0), (said, 3.0), ("</answer><|im_end|>", 1.0)]


def _letters(scene: Scene, rng: random.Random) -> list[tuple[str, float]]:
    """Returns options listed as in a conclusion, then the letter of each.

    All options are made of one caption by changing words.
    """
    words = caption(scene, rng.randrange(len(scene.events))).split()
    options = {" ".join(words)}
    while len(options) < OPTIONS:
        options.add(" ".join(_other(word, rng) if rng.random() < 0.4 else word for word in words))
    lettered = list(zip("ABCDEF", rng.sample(sorted(options), OPTIONS), strict=True))
    parts = [("\n".join(f"{letter}. {option} ({letter})" for letter, option in lettered), 0.0)]
    for letter, option in rng.sample(lettered, OPTIONS):
        parts += [(f"\nSo {option} (", 0.0), (letter, 1.0), (").", 0.0)]
    return parts


def _other(word: str, rng: random.Random) -> str:
    family = next((family for family in (tuple(DIRECTIONS), COLOURS, FORMS) if word in family), (word,))
    return rng.choice(family)


def prefix_text() -> str:
    """Returns the text before the video, the same for every question."""
    system = build_prompt("?").system
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<|vision_start|>"


def _cells(scene: Scene, times: Sequence[float]) -> npt.NDArray[np.int64]:
    """Returns the shape in each merged cell of each pair of frames, and what it does there (0: none)."""
    side = SIZE // 28
    cells = np.zeros((4, GROUPS, side, side), np.int64)
    middles = (np.arange(side) + 0.5) / side
    for group in range(GROUPS):
        first, second = times[2 * group], times[2 * group + 1]
        number = event_between(scene, first, second)
        event = None if number is None else scene.events[number]
        nearest = np.full((side, side), 0.17)
        for shape in range(len(scene.shapes)):
            states = [s for t in (first, second) if (s := scene.state(shape, t)) is not None]
            if not states:
                continue
            x, y = np.mean([s.centre for s in states], axis=0)
            distance = np.hypot(middles[None, :] - x, middles[:, None] - y)
            mine = distance < nearest
            nearest = np.where(mine, distance, nearest)
            motion, new = "still", 0
            if event is not None and shape == event.actor:
                motion = f"push {event.direction}" if event.target is not None else event.direction or event.kind
                new = COLOURS.index(event.colour) + 1 if event.colour else 0
            elif event is not None and shape == event.target:
                motion = f"pushed {event.direction}"
            colour = COLOURS.index(states[0].colour) + 1
            form = FORMS.index(scene.shapes[shape].form) + 1
            cells[:, group, mine] = np.array([colour, new, form, MOTIONS.index(motion)])[:, None]
    return cells.reshape(4, GROUPS, CELLS)


@dataclass(frozen=True)
class Batch:
    """Samples of about the same length, padded at the end: ids and weights (B, L), the rest stacked."""

    frames: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples; padding has weight 0 and comes last, so that no real token attends to it."""
    length = -(-max(len(s.ids) for s in samples) // LENGTH_STEP) * LENGTH_STEP
    ids = np.zeros((len(samples), length), np.int64)
    weights = np.zeros((len(samples), length), np.float32)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = sample.ids
        weights[row, : len(sample.ids)] = sample.weights
    return Batch(
        np.stack([s.frames for s in samples]),
        np.stack([s.cells for s in samples]),
        np.stack([s.seconds for s in samples]),
        np.stack([s.steps for s in samples]),
        ids,
        weights,
    )


def batches(maker: Maker, task: Task | tuple[Practice, ...], first: int, count: int, size: int) -> Iterator[Batch]:
    """Yields `count` batches of `size`, from clip number `first` on; every four are sorted by length together.

    Several kinds of practice alternate, clip by clip.
    """
    for start in range(0, count, 4):
        many = range(first + start * size, first + min(start + 4, count) * size)
        if isinstance(task, tuple):
            samples = [maker.practice(number, task[number % len(task)]) for number in many]
        else:
            samples = [maker.sample(number, task) for number in many]
        samples.sort(key=lambda s: len(s.ids))
        groups = [collate(samples[i : i + size]) for i in range(0, len(samples), size)]
        random.Random(start).shuffle(groups)
        yield from groups
