"""Recipes: what is packaged is whole and true to the paper; what is misspelt or means nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("yaml")

from vtcli.errors import UsageError
from vtcli.train.recipe_file import load_recipe, packaged, recipe_text, to_yaml


def test_every_packaged_recipe_can_be_read_and_written_again(tmp_path: Path) -> None:
    assert set(packaged()) == {"tiny", "video-r1-7b", "video-thinker-3b", "video-thinker-7b", "video-thinker-7b-lora"}
    for name in packaged():
        file = tmp_path / f"{name}.yaml"
        file.write_text(to_yaml(load_recipe(name)))
        assert load_recipe(str(file)) == load_recipe(name)


def test_the_papers_values() -> None:
    recipe = load_recipe("video-thinker-7b")
    sft, grpo = recipe.sft, recipe.grpo
    assert sft is not None and grpo is not None
    assert (recipe.frames.count, recipe.frames.max_pixels, recipe.train_vision) == (16, 128 * 28 * 28, True)
    assert (sft.epochs, sft.learning_rate, sft.batch) == (1, 1e-5, 16)
    assert (grpo.learning_rate, grpo.batch, grpo.group, grpo.beta, grpo.max_steps) == (5e-6, 8, 8, 0.04, 2500)
    assert (grpo.weight_decay, grpo.max_grad_norm, grpo.max_tokens) == (0.01, 5, 1024)
    assert grpo.rewards == {"accuracy": 1, "format": 1}


def test_each_value_of_a_packaged_recipe_says_where_it_comes_from() -> None:
    marks = ("[P]", "[S]", "[F]", "[R]", "[vt]")
    for name in ("video-thinker-7b", "video-r1-7b"):
        for line in recipe_text(name).splitlines():
            if line and not line.startswith(("#", "description")) and not line.endswith(":"):
                assert any(mark in line.partition("#")[2] for mark in marks), line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grpo.bata=1", "grpo.bata; did you mean beta?"),
        ("grop.beta=1", "grop.beta; did you mean grpo?"),
        ("sft.learning_rate=fast", "sft.learning_rate: 'fast' is no float"),
        ("sft.batch=2.5", "sft.batch: 2.5 is no int"),
        ("sft.batch=true", "sft.batch: True is no int"),
        ("sft.batch=12", "no multiple of sft.per_device 8"),
        ("grpo.group=1", "advantages compare"),
        ("grpo.rewards={}", "grpo.rewards is empty"),
        ("prompt=mine", "'mine' is none of video-thinker, video-r1, ask"),
        ("frames.fps=2", "give one of count and fps"),
        ("seed", "write KEY=VALUE"),
        ("seed.x=1", "seed is a value, not a section"),
        ("data.files=[1]", "data.files"),
        ("sft={", "the value is not YAML"),
        ("grpo.epsilon=1", "grpo.epsilon must be above 0 and below 1, not 1"),
        ("grpo.iterations=7", "no multiple of grpo.iterations 7"),
        ("grpo.rewards={accuracy: .nan}", "grpo.rewards.accuracy must be a finite number, not nan"),
        ("grpo.temperature=.inf", "grpo.temperature must be above 0, not inf"),
        ("sft.weight_decay=-1", "sft.weight_decay must be 0 or more, not -1"),
        ("sft.max_grad_norm=-1", "sft.max_grad_norm must be 0 or more (0: no limit), not -1"),
        ("sft.max_grad_norm=.inf", "sft.max_grad_norm must be 0 or more (0: no limit), not inf"),
        ("sft.beta1=1", "sft.beta1 must be 0 or more and below 1, not 1"),
        ("lora.rank=0", "lora.rank must be 1 or more, not 0"),
        ("lora.dropout=1.5", "lora.dropout must be 0 or more and below 1, not 1.5"),
        ("data.workers=-1", "data.workers must be 0 or more, not -1"),
        ("seed=-1", "seed must be 0 or more and at most 4294967295, not -1"),
        ("frames.count=0", "frames.count must be 1 or more, not 0"),
        ("sft.max_steps=0", "sft.max_steps must be 1 or more, not 0"),
        ("grpo.top_p=0", "grpo.top_p must be above 0 and at most 1, not 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_recipe("tiny", [change])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_changes_are_made_in_order_and_reach_sections_that_were_not_there() -> None:
    recipe = load_recipe("tiny", ["lora.rank=8", "sft=null", "grpo.rewards.my.module:f=2", "grpo.learning_rate=1e-6"])
    assert recipe.lora is not None and recipe.lora.rank == 8
    assert recipe.sft is None
    assert recipe.grpo is not None and recipe.grpo.rewards["my.module:f"] == 2
    assert recipe.grpo.learning_rate == 1e-6
    with pytest.raises(UsageError, match="no stage"):
        load_recipe("tiny", ["sft=null", "grpo=null"])


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text, message in (("- 1", "no recipe"), ("a: [", "not YAML"), ("model: x", "lacks description \\(str\\)")):
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            load_recipe(str(file))
    file.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(UsageError, match="not YAML"):
        load_recipe(str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="did you mean video-thinker-7b"):
        load_recipe("video-thinker7b")
