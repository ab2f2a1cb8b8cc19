"""GRPO on videos with TRL's GRPOTrainer, whose own code trains blind as soon as a prompt holds a video (docs/train.md).

A prompt and its video are encoded and read once for all completions of its group: when completions are drawn
(`roll_out`, or vLLM if the recipe says so), and in each pass that computes log-probabilities, with or without gradients
(`shared_batch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from vtcli.engines.vision import quicken
from vtcli.train.batches import shared_batch
from vtcli.train.encode import Encoded, Encoder, image_token_id
from vtcli.train.model import library_tokenizer, lora_config
from vtcli.train.processes import strategy
from vtcli.train.recipe import Grpo, Recipe
from vtcli.train.records import Record
from vtcli.train.rewards import NEED_SHUFFLED, Group, Reward, find_reward
from vtcli.train.rollout import Drawing, dice, roll_out
from vtcli.train.sampler import GroupSampler
from vtcli.train.settings import arguments, numbered
from vtcli.train.shared import use_shared
from vtcli.train.trainer import VideoTrainer
from vtcli.train.vllm import Vllm, difference
from vtcli.train.watch import VisionWatch
from vtcli.train.whole import with_whole_weights


class VideoGRPOTrainer(VideoTrainer, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer for records with videos; made by `grpo_trainer`.

    TRL hands rows of tensors from step to step; "rows" holds the record number of each row.
    """

    watch: VisionWatch
    reference_watch: VisionWatch | None
    encoder: Encoder
    records: Sequence[Record]
    drawing: Drawing
    recipe_stage: Grpo
    wants_shuffled: bool
    vllm: Vllm | None = None
    _buffered_inputs: Any
    _told: int | None = None
    """The step whose weights vLLM holds."""

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        return GroupSampler(
            len(dataset if dataset is not None else self.train_dataset),
            self.num_generations,
            self.args.generation_batch_size // self.num_generations,
            self.num_iterations * self.args.steps_per_generation,
            self.args.seed,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rows = [row["number"] for row in inputs]
        self._prompts = {number: self.encoder.prompt(self.records[number]) for number in dict.fromkeys(self._rows)}
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        return batch | {"rows": self._rows}

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Does what TRL's method does, without shuffling the rows.

        The completions of a prompt stay together, so that they are computed together.
        """
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        self._rows = inputs["rows"]
        return super()._compute_loss(model, inputs)

    def complete(self) -> dict[str, Any]:
        """Draws completions of the records in `self._rows`, in the format of TRL's rollout functions."""
        step, group = self.state.global_step, self.num_generations
        numbers = _groups(self._rows, group)
        encoded = [self._prompts[number] for number in numbers]
        completions = self._draw(encoded, group, [(self.args.seed, step, number) for number in numbers])
        shuffled: list[list[str]] = [[] for _ in numbers]
        if self.wants_shuffled:
            others = [self.encoder.prompt(self.records[number], shuffle=step) for number in numbers]
            drawn = self._draw(others, max(1, group // 2), [(self.args.seed, step, number, 1) for number in numbers])
            shuffled = _chunks(self._texts(drawn), max(1, group // 2))
        texts = _chunks(self._texts(completions), group)
        lengths = _chunks([len(ids) for ids in completions], group)
        self._groups = [
            Group(self.records[number], tuple(said), tuple(long), tuple(other))
            for number, said, long, other in zip(numbers, texts, lengths, shuffled, strict=True)
        ]
        if self.model.training:
            tokens = sum(len(ids) for ids in completions) + sum(prompt.ids.size for prompt in encoded) * group
            self.context.tokens += tokens * self.accelerator.num_processes
        prompt_ids = [self._prompts[number].ids.tolist() for number in self._rows]
        return {"prompt_ids": prompt_ids, "completion_ids": completions, "logprobs": None}

    def _draw(self, prompts: list[Encoded], copies: int, seeds: list[tuple[int, ...]]) -> list[list[int]]:
        if self.vllm is not None:
            return self._draw_by(self.vllm, prompts, copies, seeds)
        if not self.recipe_stage.share:  # as TRL does: every completion computes its own prompt
            seeds = [(*seed, 0) for seed in seeds]
        numbers = torch.cat([torch.from_numpy(dice(copies, self.drawing.max_tokens, *seed)) for seed in seeds]).numpy()
        if not self.recipe_stage.share:
            prompts, copies = [prompt for prompt in prompts for _ in range(copies)], 1
        precision = self.accelerator.autocast()
        with self.watch.expecting(sum(len(prompt.patches) for prompt in prompts)):
            return with_whole_weights(
                self, lambda model: roll_out(model, prompts, copies, self.drawing, numbers, precision)
            )

    def _draw_by(
        self, vllm: Vllm, prompts: list[Encoded], copies: int, seeds: list[tuple[int, ...]]
    ) -> list[list[int]]:
        """Draws with vLLM and this step's weights; checks one group per call against the policy."""
        step = self.state.global_step
        if self._told != step:
            with_whole_weights(self, vllm.load)
            self._told = step
        drawn = vllm.draw(prompts, copies, self.drawing, seeds)
        begin = step % len(prompts) * copies
        group = slice(begin, begin + copies)
        precision = self.accelerator.autocast()
        apart = with_whole_weights(
            self,
            lambda model: difference(model, prompts[begin // copies], drawn.ids[group], drawn.logps[group], precision),
        )
        every = self.accelerator.gather(apart[None].to(self.accelerator.device))  # (processes, 2)
        mean, most = float(every[:, 0].mean()), float(every[:, 1].max())
        self._metrics["train"]["sampling/sampling_logp_difference/mean"].append(mean)
        self._metrics["train"]["sampling/sampling_logp_difference/max"].append(most)
        vllm.check(mean)
        return drawn.ids

    def train(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().train(*arguments, **named)
        finally:
            if self.vllm is not None:
                self.vllm.close()

    def _texts(self, completions: Sequence[Sequence[int]]) -> list[str]:
        return [self.encoder.tokenizer.decode(ids) for ids in completions]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Returns log-probabilities (B, C) of the completions and their entropies; zero after a completion's end."""
        completions = input_ids[:, -logits_to_keep:]
        lengths = attention_mask[:, -logits_to_keep:].sum(-1).tolist()
        at_once = self.recipe_stage.per_device * self.num_generations
        parts = [
            self._score(model, slice(begin, begin + at_once), completions, lengths)
            for begin in range(0, len(completions), at_once)
        ]
        logps = torch.cat([scored for scored, _ in parts])
        entropies = torch.cat([entropy for _, entropy in parts if entropy is not None]) if compute_entropy else None
        return logps, entropies, None

    def _score(
        self, model: Any, where: slice, completions: torch.Tensor, lengths: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns log-probabilities and entropies of some rows; those of one record share its prompt."""
        rows, own = completions[where], lengths[where]
        cut = [row[:length].cpu() for row, length in zip(rows, own, strict=True)]
        key = (lambda i: self._rows[where][i]) if self.recipe_stage.share else None
        grouped = [(self._rows[where][group[0]], group) for group in _runs(len(cut), key)]
        prompts = [self._prompts[number] for number, _ in grouped]
        batch = shared_batch(prompts, [[cut[i] for i in group] for _, group in grouped], self._tokenizer.pad_token_id)
        batch = super()._prepare_input(batch)
        watch = self.reference_watch if model is self.ref_model and self.reference_watch else self.watch
        with watch.expecting(sum(len(prompt.patches) for prompt in prompts)), self.accelerator.autocast():
            output = model(**batch, fused_lm_head=True)
        scored = batch["shift_labels"] != -100
        filled = torch.arange(rows.shape[1], device=rows.device)[None] < torch.tensor(own, device=rows.device)[:, None]

        def placed(values: torch.Tensor | None) -> torch.Tensor | None:
            if values is None:
                return None
            return values.new_zeros(filled.shape).masked_scatter(filled, values[scored])

        logps = placed(output.log_probs)
        assert logps is not None
        return logps, placed(output.entropy)


def grpo_trainer(
    model: Any, recipe: Recipe, records: Sequence[Record], encoder: Encoder, folder: str, devices: int = 1
) -> VideoGRPOTrainer:
    """Makes a trainer for `records`; call `follow` before training. Raises UsageError (batch, rewards)."""
    stage = recipe.grpo
    assert isinstance(stage, Grpo)
    checkpoint = encoder.checkpoint
    rewards = {name: find_reward(name) for name in stage.rewards}
    settings = GRPOConfig(
        **arguments(recipe, stage, folder, devices, records),
        num_generations=stage.group,
        max_completion_length=stage.max_tokens,
        temperature=stage.temperature,
        top_p=stage.top_p,
        beta=stage.beta,
        epsilon=stage.epsilon,
        num_iterations=stage.iterations,
        loss_type="grpo",
        scale_rewards=stage.scale_rewards,
        reward_weights=list(stage.rewards.values()),
    )
    functions = [_reward_function(name, reward) for name, reward in rewards.items()]
    data = numbered(len(records)).add_column("prompt", [record.problem for record in records])
    trainer: VideoGRPOTrainer = VideoGRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=settings,
        train_dataset=data,
        processing_class=library_tokenizer(encoder.tokenizer, checkpoint),
        peft_config=lora_config(recipe.lora, recipe.train_vision) if recipe.lora else None,
        rollout_func=lambda prompts, trainer: trainer.complete(),
    )
    for function in functions:
        function.trainer = trainer
    trainer.encoder, trainer.records, trainer.recipe_stage = encoder, records, stage
    captured = stage.captures(trainer.accelerator.device.type, strategy())
    trainer.drawing = Drawing(
        stage.max_tokens, checkpoint.eos_token_ids, forbidden(encoder), stage.temperature, stage.top_p, captured
    )
    trainer.wants_shuffled = any(name in NEED_SHUFFLED for name in stage.rewards)
    for each in filter(None, (trainer.model, trainer.ref_model)):
        use_shared(each.get_base_model() if hasattr(each, "get_base_model") else each)
    trainer.watch = VisionWatch(trainer.model)
    if (reference := trainer.ref_model) is not None:  # TRL loads it separately
        quicken(reference.model.visual)
    trainer.reference_watch = None if reference is None else VisionWatch(reference, "the reference model")
    if stage.rollouts == "vllm":
        trainer.vllm = Vllm(checkpoint, recipe, records, devices)
    return trainer


def forbidden(encoder: Encoder) -> list[int]:
    """Ids a completion must not hold: the placeholders of pictures and videos, and ids that the tokenizer lacks."""
    vocabulary = int(encoder.checkpoint.text_config["vocab_size"])
    beyond = range(encoder.tokenizer.vocabulary_size, vocabulary)
    ids = encoder.checkpoint.video_token_id, image_token_id(encoder.checkpoint), *beyond
    # A small model whose config has no id for pictures uses none: the family's is beyond its vocabulary.
    return sorted({number for number in ids if number < vocabulary})


def _reward_function(name: str, reward: Reward) -> Any:
    """Wraps `reward` as TRL calls it; the trainer knows the groups that the completions belong to."""

    def function(completions: list[Any], **_: Any) -> list[float]:
        groups: list[Group] = function.trainer._groups  # type: ignore[attr-defined]
        return [value for group in groups for value in reward(group)]

    function.__name__ = name
    return function


def _groups(rows: Sequence[int], group: int) -> list[int]:
    """Returns the record of each group of rows; a whole group is on one device."""
    assert all(len(set(rows[i : i + group])) == 1 for i in range(0, len(rows), group))
    return [rows[i] for i in range(0, len(rows), group)]


def _chunks(values: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(values[i : i + size]) for i in range(0, len(values), size)]


def _runs(count: int, key: Any) -> list[list[int]]:
    """Splits 0 … count - 1 into runs of neighbours with the same key; without a key, each number is alone."""
    if key is None:
        return [[i] for i in range(count)]
    return [list(group) for _, group in groupby(range(count), key)]
