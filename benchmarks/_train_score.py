"""Scores one checkpoint on clips of moving shapes that were never trained on; prints shares as a line of JSON.

python benchmarks/_train_score.py FOLDER CLIPS [FRAMES]
"""

from __future__ import annotations

import json
import sys

from vtcli.models.checkpoint import open_checkpoint
from vtcli.settings import cache_folder
from vtcli.train.encode import Encoder
from vtcli.train.evaluate import greedy_sums, shares
from vtcli.train.grpo import forbidden
from vtcli.train.model import load_for_training
from vtcli.train.recipe_file import load_recipe
from vtcli.train.records import read_records
from vtcli.train.rollout import Drawing
from vtcli.train.shapes import write_shapes

UNSEEN = 9_500_000
AT_ONCE = 50


def main() -> None:
    folder, clips, *frames = sys.argv[1:]
    recipe = load_recipe("tiny", [f"model={folder}", *(f"frames.count={count}" for count in frames)])
    checkpoint, kept = open_checkpoint(folder), cache_folder() / "frames"
    encoder = Encoder.of(checkpoint, recipe, kept)
    records = read_records([write_shapes(cache_folder() / "shapes", int(clips), UNSEEN)], {}).records
    assert recipe.grpo is not None
    greedy = Drawing(recipe.grpo.max_tokens, checkpoint.eos_token_ids, forbidden(encoder), temperature=0)
    model = load_for_training(checkpoint, recipe)
    print(json.dumps(shares(greedy_sums(model, encoder, records, greedy, at_once=AT_ONCE))))


if __name__ == "__main__":
    main()
