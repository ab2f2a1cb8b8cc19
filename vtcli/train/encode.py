"""Records → what the model is given: token ids, positions, patches, by the very code that `vt ask` runs."""

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
    """The id of `<|image_pad|>`; the family's where config.json does not tell."""
    return int(checkpoint.config.get("image_token_id", 151655))


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt as the model sees it. L tokens; V videos or pictures.

    ids (L,), positions (3, L); patches float32 (rows, columns) of all videos one after the other; grids int64 (V, 3).
    pictures: whether they are pictures. token_id: what stands for them in `ids`.
    `next_position` is where the reply begins, the same on all axes.
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
    """A prompt with the reply to learn: its ids, the end of the turn included."""

    prompt: Encoded
    reply: Ids


class Encoder:
    """Encodes records for one checkpoint under one recipe. Picklable; each process opens videos for itself."""

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, recipe: Recipe, store: FrameStore) -> None:
        self.checkpoint, self.tokenizer, self.recipe, self.store = checkpoint, tokenizer, recipe, store

    @classmethod
    def of(cls, checkpoint: Checkpoint, recipe: Recipe, kept: Path | None) -> Encoder:
        """With the checkpoint's own tokenizer; frames are kept in the folder `kept`, if any."""
        store = FrameStore(frame_request(recipe.frames, checkpoint), kept, picture_pixels(recipe.frames, checkpoint))
        return cls(checkpoint, Tokenizer(checkpoint.path), recipe, store)

    def prompt_ids(self, record: Record) -> list[int]:
        """Ids of the prompt, one video token a video."""
        return self.tokenizer.encode_prompt(prompt_of(record, self.recipe.prompt))[1]

    def reply_ids(self, record: Record) -> list[int]:
        """Ids of the reply to learn and the token that ends it."""
        return [*self.tokenizer.encode(target_of(record, self.recipe)), self.checkpoint.eos_token_ids[0]]

    def prompt(self, record: Record, shuffle: int | None = None) -> Encoded:
        """The prompt with its videos; `shuffle` seeds an order their frames are put in. Raises VideoError."""
        pictures = bool(record.pictures)
        clips = [self.store.clip(file, pictures) for file in record.shown]
        if shuffle is not None:
            dice = np.random.default_rng(shuffle)
            clips = [Clip(clip.pixels[dice.permutation(len(clip.pixels))], clip.second_per_grid) for clip in clips]
        return self.encode(self.prompt_ids(record), clips, pictures)

    def encode(self, prompt_ids: list[int], clips: list[Clip], pictures: bool = False) -> Encoded:
        """Prompt ids, one video token a video, and the videos themselves; or all of pictures."""
        of = self.checkpoint
        token = image_token_id(of) if pictures else of.video_token_id
        sizes = of.patch_size, of.temporal_patch_size, of.merge_size
        cut = [patchify(clip.pixels, of.image_mean, of.image_std, *sizes) for clip in clips]
        # A picture is a video of one moment: its cells' time stays, and the text after it resumes as after any.
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
        """The prompt and the reply to learn. Raises VideoError."""
        return Example(self.prompt(record), np.array(self.reply_ids(record), np.int64))
