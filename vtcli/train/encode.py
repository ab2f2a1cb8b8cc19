"""Encodes records as model input (token ids, positions, patches) with the same code that `vt ask` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vtcli.layout import Ids, Shape, expand, number
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.tokenizer import Tokenizer
from vtcli.train.frames import Clip, FrameStore, frame_request, picture_pixels
from vtcli.train.prompts import prompt_of, target_of
from vtcli.train.recipe import Recipe
from vtcli.train.records import Record
from vtcli.video.patches import patchify


def image_token_id(checkpoint: Checkpoint) -> int:
    """Returns the id of `<|image_pad|>`, or the family's id if config.json has none."""
    return int(checkpoint.config.get("image_token_id", 151655))


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt as the model sees it, with L tokens and V videos or pictures.

    ids (L,), positions (3, L). patches: float32 (rows, columns) of all videos, one after the other. grids: int64
    (V, 3). token_id: the placeholder of a video or picture in `ids`. pictures: whether these are pictures.
    next_position: where the reply begins, the same on all axes.
    """

    ids: Ids
    positions: Ids
    patches: npt.NDArray[np.float32]
    grids: Ids
    token_id: int
    pictures: bool = False

    @property
    def next_position(self) -> int:
        return int(self.positions.max()) + 1


@dataclass(frozen=True, eq=False)
class Example:
    """A prompt and the ids of the reply to learn, including the token that ends the turn."""

    prompt: Encoded
    reply: Ids


class Encoder:
    """Encodes records for one checkpoint under one recipe. Picklable; each process opens its own videos."""

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, recipe: Recipe, store: FrameStore) -> None:
        self.checkpoint, self.tokenizer, self.recipe, self.store = checkpoint, tokenizer, recipe, store

    @classmethod
    def of(cls, checkpoint: Checkpoint, recipe: Recipe, kept: Path | None) -> Encoder:
        """Makes an encoder with the checkpoint's own tokenizer; `kept` is the folder of the frame cache, if any."""
        store = FrameStore(frame_request(recipe.frames, checkpoint), kept, picture_pixels(recipe.frames, checkpoint))
        return cls(checkpoint, Tokenizer(checkpoint.path), recipe, store)

    def prompt_ids(self, record: Record) -> list[int]:
        """Returns the ids of the prompt, with one placeholder token per video."""
        return self.tokenizer.encode_prompt(prompt_of(record, self.recipe.prompt))[1]

    def reply_ids(self, record: Record) -> list[int]:
        """Returns the ids of the reply to learn and of the token that ends it."""
        return [*self.tokenizer.encode(target_of(record, self.recipe)), self.checkpoint.eos_token_ids[0]]

    def prompt(self, record: Record, shuffle: int | None = None) -> Encoded:
        """Encodes the prompt with its videos; `shuffle` seeds a random order of their frames. Raises VideoError."""
        pictures = bool(record.pictures)
        clips = [self.store.clip(file, pictures) for file in record.shown]
        if shuffle is not None:
            dice = np.random.default_rng(shuffle)
            clips = [Clip(clip.pixels[dice.permutation(len(clip.pixels))], clip.second_per_grid) for clip in clips]
        return self.encode(self.prompt_ids(record), clips, pictures)

    def encode(self, prompt_ids: list[int], clips: list[Clip], pictures: bool = False) -> Encoded:
        """Encodes prompt ids, with one placeholder token per clip, and the clips: all videos or all pictures."""
        of = self.checkpoint
        token = image_token_id(of) if pictures else of.video_token_id
        sizes = of.patch_size, of.temporal_patch_size, of.merge_size
        cut = [patchify(clip.pixels, of.image_mean, of.image_std, *sizes) for clip in clips]
        # A picture is a video of one moment: its tokens share one time step, and text continues as after any video.
        shapes = [Shape(grid, clip.second_per_grid) for (_, grid), clip in zip(cut, clips, strict=True)]
        ids = expand(prompt_ids, shapes, token, of.merge_size)
        positions = number(
            ids,
            shapes,
            video_token_id=token,
            merge_size=of.merge_size,
            tokens_per_second=of.tokens_per_second,
        )
        columns = 3 * of.temporal_patch_size * of.patch_size**2
        patches = np.concatenate([rows for rows, _ in cut]) if cut else np.zeros((0, columns), np.float32)
        grids = np.array([s.grid for s in shapes], np.int64).reshape(-1, 3)
        return Encoded(ids, positions, patches, grids, token, pictures)

    def example(self, record: Record) -> Example:
        """Encodes the prompt and the reply to learn. Raises VideoError."""
        return Example(self.prompt(record), np.array(self.reply_ids(record), np.int64))
