from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from vtcli.errors import TrainError
from vtcli.models.checkpoint import open_checkpoint
from vtcli.train.model import load_for_training
from vtcli.train.precision import check_angles
from vtcli.train.recipe_file import load_recipe
from vtcli.train.trainer import VideoTrainer


def prepared(state: Any) -> Any:
    """What vt's trainers make of an accelerate state."""

    class Library:
        def create_accelerator_and_postprocess(self) -> None:
            self.accelerator = SimpleNamespace(state=state)

    class Ours(VideoTrainer, Library):
        pass

    Ours().create_accelerator_and_postprocess()
    return state


def test_weights_spread_by_fsdp_round_nothing_at_the_edges() -> None:
    """accelerate's own policy gives log-probabilities in bfloat16, of which a small KL comes out as noise."""
    half = torch.bfloat16
    plugin = SimpleNamespace(mixed_precision_policy=MixedPrecisionPolicy(half, half, half, cast_forward_inputs=True))
    policy = prepared(SimpleNamespace(fsdp_plugin=plugin)).fsdp_plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (half, torch.float32, None)
    assert not policy.cast_forward_inputs


def test_deepspeed_adds_gradients_in_float32() -> None:
    config = pytest.importorskip("deepspeed.runtime.config")
    plugin = SimpleNamespace(deepspeed_config={"bf16": {"enabled": True}, "train_batch_size": 1})
    made = config.DeepSpeedConfig(prepared(SimpleNamespace(deepspeed_plugin=plugin)).deepspeed_plugin.deepspeed_config)
    assert made.bfloat16_config.enabled
    assert made.communication_data_type == torch.float32
    assert config.DtypeEnum(made.grad_accum_dtype).value == torch.float32


def test_rounded_angles_stop_a_run() -> None:
    model = load_for_training(open_checkpoint("tiny"), load_recipe("tiny", ["weights=bfloat16"]))
    check_angles(model)
    with pytest.raises(TrainError, match="inv_freq was rounded to bfloat16: times would be learned wrong"):
        check_angles(model.to(torch.bfloat16))
