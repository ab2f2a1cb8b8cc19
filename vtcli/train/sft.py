"""Supervised fine-tuning on videos with TRL's SFTTrainer, which does not handle videos itself (docs/train.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTConfig, SFTTrainer

from vtcli.train.batches import Collator
from vtcli.train.encode import Encoder, image_token_id
from vtcli.train.model import library_tokenizer, lora_config
from vtcli.train.recipe import Recipe, Sft
from vtcli.train.records import Record
from vtcli.train.sampler import GroupSampler
from vtcli.train.settings import arguments, numbered
from vtcli.train.trainer import VideoTrainer
from vtcli.train.watch import VisionWatch


class VideoSFTTrainer(VideoTrainer, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer on batches of `Collator`; checks that each step shows its videos to the vision tower."""

    watch: VisionWatch
    shown_ids: torch.Tensor
    """Ids of the tokens that stand for videos and pictures."""
    patches_a_token: int

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return GroupSampler(len(rows), 1, self.context.stage.batch, 1, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        shown = int(torch.isin(inputs["input_ids"], self.shown_ids).sum()) * self.patches_a_token
        if self.model.training:
            self.context.tokens += int(inputs["attention_mask"].sum()) * self.accelerator.num_processes
        with self.watch.expecting(shown):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


def sft_trainer(
    model: Any, recipe: Recipe, records: Sequence[Record], encoder: Encoder, folder: str, devices: int = 1
) -> VideoSFTTrainer:
    """Makes a trainer for `records`; call `follow` before training. Raises UsageError (batch)."""
    stage = recipe.sft
    assert isinstance(stage, Sft)
    checkpoint = encoder.checkpoint
    tokenizer = library_tokenizer(encoder.tokenizer, checkpoint)
    settings = SFTConfig(
        **arguments(recipe, stage, folder, devices, records),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=recipe.data.workers if torch.cuda.is_available() else 0,
    )
    trainer = VideoSFTTrainer(
        model=model,
        args=settings,
        data_collator=Collator(encoder, records, tokenizer.pad_token_id),
        train_dataset=numbered(len(records)),
        processing_class=tokenizer,
        peft_config=lora_config(recipe.lora, recipe.train_vision) if recipe.lora else None,
    )
    # The loss is averaged over the tokens of the whole batch. transformers does this only if the model's own loss says
    # it can, which this family's does not; the loss would then depend on how the batch is split for accumulation.
    trainer.model_accepts_loss_kwargs = True
    trainer.watch = VisionWatch(trainer.model)
    model.model.language_model.register_forward_pre_hook(_without_padding_mask, with_kwargs=True)
    shown = checkpoint.video_token_id, image_token_id(checkpoint)
    trainer.shown_ids = torch.tensor(shown, device=trainer.args.device)
    trainer.patches_a_token = checkpoint.merge_size**2
    return trainer


def _without_padding_mask(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Removes a tensor mask: causal attention alone is right.

    Rows are padded after their last token, where no token looks, and causal kernels are twice as fast as those that
    read a mask. A mask that is not a tensor is `vtcli.train.rollout`'s and stays.
    """
    if isinstance(named.get("attention_mask"), torch.Tensor):
        named["attention_mask"] = None
    return given, named
