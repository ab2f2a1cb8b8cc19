"""Draws completions with vLLM in this process, from the trainer's own weights, prompts and positions.

vLLM neither reads nor resizes a video: it is given the patches and token ids that `vt ask` and training compute. Its
positions follow the rule of `vtcli.layout`, in float64. A video's seconds are therefore adjusted so that both count
alike, and every prompt's positions are compared before it is read. The log-probabilities that vLLM reports for its
tokens are compared with those of the trainer's model (`own_logps`), because vLLM computes with its own kernels.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vtcli.errors import TrainError, first_line
from vtcli.models.checkpoint import Checkpoint
from vtcli.models.weights import published_name
from vtcli.train.batches import IGNORED, shared_batch
from vtcli.train.encode import Encoded
from vtcli.train.plan import VLLM_BLOCK, vllm_kept
from vtcli.train.recipe import Grpo, Recipe
from vtcli.train.records import Record
from vtcli.train.rollout import Drawing, answering
from vtcli.train.watch import VisionWatch

if TYPE_CHECKING:
    from torch import Tensor

APART = 0.1
"""Mean difference of log-probabilities per token above which vLLM does not compute the policy (docs/train.md)."""


@dataclass(frozen=True)
class Drawn:
    """Completions; those of a prompt are adjacent.

    ids: with the one that ended a completion. logps: the log-probability that the model gave each id, at temperature 1
    and with no token excluded.
    """

    ids: list[list[int]]
    logps: list[list[float]]


class Vllm:
    """One engine on this process's device. Call `load` before the first `draw` and whenever weights have changed."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe, records: Sequence[Record], devices: int = 1) -> None:
        """Starts the engine. Raises TrainError if vLLM does not start."""
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process, where the weights are
        from vllm import EngineArgs, LLMEngine

        stage = recipe.grpo
        assert isinstance(stage, Grpo)
        self._checkpoint = checkpoint
        longest = recipe.data.max_prompt_tokens + stage.max_tokens
        settings = EngineArgs(
            model=str(checkpoint.path.resolve()),
            dtype=recipe.compute,
            max_model_len=longest,
            # All tokens of a video are computed at once.
            max_num_batched_tokens=max(8192, longest),
            max_num_seqs=stage.batch // devices * stage.group,
            limit_mm_per_prompt={
                "video": max(len(record.videos) for record in records),
                "image": max(len(record.pictures) for record in records),
            },
            block_size=VLLM_BLOCK,
            kv_cache_memory_bytes=vllm_kept(checkpoint, recipe, devices),
            gpu_memory_utilization=0.01,  # must be free at the start; the KV cache is set above
            mm_processor_cache_gb=0,
            mm_device_do_normalize=False,  # patches are normalised already
            enable_prefix_caching=True,
            generation_config="vllm",
            disable_log_stats=True,
            use_tqdm_on_load=False,
            trust_remote_code=False,
            distributed_executor_backend="external_launcher" if devices > 1 else None,
        )
        with _undisturbed():
            try:
                self._engine: Any = LLMEngine.from_engine_args(settings)
            except Exception as error:  # kernels, versions, memory: each raises its own error
                raise TrainError(
                    f"vLLM does not start ({first_line(error)}): set grpo.rollouts=vt to draw completions without it"
                ) from error
        self._model: Any = self._engine.apply_model(lambda model: model)[0]
        self.watch = VisionWatch(self._model, "vLLM's model")
        self._ties = bool(self._model.config.tie_word_embeddings)
        self._draws, self._alone = 0, devices == 1

    def load(self, model: Any) -> None:
        """Takes the weights of a transformers model, with adapters merged."""
        weights = ((published_name(name), value) for name, value in merged(model))
        with _undisturbed():
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            if self._ties:
                # A head tied to the embeddings is skipped, but on a CPU it has a packed copy of its own.
                head = self._model.language_model.lm_head
                head.quant_method.process_weights_after_loading(head)

    def draw(self, prompts: Sequence[Encoded], copies: int, drawing: Drawing, seeds: Sequence[Sequence[int]]) -> Drawn:
        """Draws `copies` completions of each prompt; they follow from the weights and the prompt's seed.

        Raises TrainError if vLLM would place a prompt's tokens at other positions.
        """
        self._draws += 1
        finished: dict[int, Any] = {}
        with _undisturbed(), self.watch.expecting(sum(len(prompt.patches) for prompt in prompts)):
            try:
                for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
                    # A new name, so that vLLM's caches return nothing computed with other weights.
                    given = self._given(prompt, f"{self._draws}-{number}")
                    self._engine.add_request(str(number), given, self._sampling(copies, drawing, seed))
                while self._engine.has_unfinished_requests():
                    for output in self._engine.step():
                        if output.finished:
                            finished[int(output.request_id)] = output
            except BaseException:
                self._engine.abort_request([str(number) for number in range(len(prompts))])
                raise
        found = [each for number in range(len(prompts)) for each in finished[number].outputs]
        return Drawn(
            [list(each.token_ids) for each in found],
            [
                [tokens[token].logprob for tokens, token in zip(each.logprobs, each.token_ids, strict=True)]
                for each in found
            ],
        )

    def check(self, apart: float) -> None:
        """Raises TrainError if the mean difference per token, `apart`, is larger than rounding explains."""
        if not apart <= APART:
            raise TrainError(
                f"vLLM gives its tokens other log-probabilities than the policy ({apart:.2g} apart a token on average, "
                f"at most {APART} is rounding): it does not see what is trained on; set grpo.rollouts=vt"
            )

    def close(self) -> None:
        """Ends the engine and frees its memory."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory, destroy_model_parallel

        self._engine.engine_core.shutdown()
        self._engine = self._model = None
        if self._alone:
            cleanup_dist_env_and_memory()
        else:  # the processes' own group stays
            destroy_model_parallel()

    def _sampling(self, copies: int, drawing: Drawing, seed: Sequence[int]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        forbidden = set(drawing.forbidden)
        vocabulary = range(int(self._checkpoint.text_config["vocab_size"]))
        return SamplingParams(
            n=copies,
            temperature=drawing.temperature,
            top_p=drawing.top_p if drawing.temperature else 1.0,
            seed=int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]),
            max_tokens=drawing.max_tokens,
            stop_token_ids=list(drawing.ends),
            ignore_eos=True,
            allowed_token_ids=[token for token in vocabulary if token not in forbidden] if forbidden else None,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _given(self, prompt: Encoded, name: str) -> Any:
        """Returns the prompt in the form that vLLM's engine takes from its own processor."""
        from vllm.inputs.engine import mm_input, tokens_input
        from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItems, PlaceholderRange
        from vllm.multimodal.inputs import MultiModalFieldConfig as Field

        ids = prompt.ids.tolist()
        if not len(prompt.grids):
            return tokens_input(ids, cache_salt=name)
        import torch

        kind, patches, grid = (
            ("image", "pixel_values", "image_grid_thw")
            if prompt.pictures
            else ("video", "pixel_values_videos", "video_grid_thw")
        )
        grids = torch.from_numpy(prompt.grids)
        fields = {patches: Field.flat_from_sizes(kind, grids.prod(-1)), grid: Field.batched(kind, keep_on_cpu=True)}
        values = {patches: torch.from_numpy(prompt.patches), grid: grids}
        places = [PlaceholderRange(offset=begin, length=length) for begin, length in runs(prompt, self._checkpoint)]
        if not prompt.pictures:
            seconds = [
                told_seconds(steps, self._checkpoint.tokens_per_second)
                for steps in time_steps(prompt, self._checkpoint)
            ]
            fields["second_per_grid_ts"] = Field.batched(kind, keep_on_cpu=True)
            values["second_per_grid_ts"] = torch.tensor(seconds, dtype=torch.float64)
        items = MultiModalKwargsItems.from_hf_inputs(values, fields)
        names = [f"{name}-{i}" for i in range(len(places))]
        features = [
            MultiModalFeatureSpec(data=item, modality=kind, identifier=each, mm_position=place)
            for item, each, place in zip(items[kind], names, places, strict=True)
        ]
        positions, _ = self._model.get_mrope_input_positions(ids, features)
        if not np.array_equal(positions.numpy(), prompt.positions):
            raise TrainError(
                "vLLM would number the positions of a prompt in another way than the policy, and be told other times: "
                "set grpo.rollouts=vt"
            )
        return mm_input(ids, items, {kind: names}, {kind: places}, cache_salt=name)


def runs(prompt: Encoded, checkpoint: Checkpoint) -> list[tuple[int, int]]:
    """Returns where the tokens of each video or picture begin in the prompt, and how many there are."""
    where = np.flatnonzero(prompt.ids == prompt.token_id)
    counts = prompt.grids.prod(-1) // checkpoint.merge_size**2
    ends = np.cumsum(counts)
    return [(int(where[end - count]), int(count)) for end, count in zip(ends, counts, strict=True)]


def time_steps(prompt: Encoded, checkpoint: Checkpoint) -> list[npt.NDArray[np.int64]]:
    """Returns per video how far its frame pairs are from the first one in time, (T,), in positions."""
    found = []
    for (begin, length), (pairs, _, _) in zip(runs(prompt, checkpoint), prompt.grids, strict=True):
        times = prompt.positions[0, begin : begin + length : length // int(pairs)]
        found.append(times - times[0])
    return found


def told_seconds(steps: npt.NDArray[np.int64], tokens_per_second: float) -> float:
    """Returns seconds between frame pairs for which vLLM, in float64, counts `steps`, if there are such.

    Step i must lie in [steps[i], steps[i] + 1). In float32, in which the model was trained, some values next to a whole
    number round to the other side.
    """
    i = np.arange(1, len(steps))
    if not len(i):
        return 1.0
    low, high = (steps[1:] / i).max(), ((steps[1:] + 1) / i).min()
    return float((low + high) / 2 / tokens_per_second)


def merged(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields names and weights of a transformers model as if it had no adapters, with their deltas added."""
    deltas = {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight") and getattr(module, "active_adapters", None)
    }
    for name, value in model.named_parameters():
        owner, _, last = name.rpartition(".")
        if ".lora_" in name:
            continue
        layer = owner.removesuffix(".base_layer")
        weight = value.detach()
        if layer in deltas and last == "weight":
            added = sum(deltas[layer].get_delta_weight(adapter).float() for adapter in deltas[layer].active_adapters)
            weight = (weight.float() + added).to(weight.dtype)
        yield f"{layer}.{last}", weight


def difference(
    model: Any,
    prompt: Encoded,
    completions: Sequence[Sequence[int]],
    logps: Sequence[Sequence[float]],
    precision: AbstractContextManager[Any] | None = None,
) -> Tensor:
    """Compares vLLM's log-probabilities of a prompt's completions with the transformers model's own.

    Returns the mean and the largest difference per token (2,). logps: from `Drawn.logps`.
    """
    import torch

    own = torch.cat(own_logps(model, prompt, completions, precision))
    apart = (own - torch.tensor([value for row in logps for value in row])).abs()
    return torch.stack([apart.mean(), apart.max()])


def own_logps(
    model: Any,
    prompt: Encoded,
    completions: Sequence[Sequence[int]],
    precision: AbstractContextManager[Any] | None = None,
) -> list[Tensor]:
    """Returns the transformers model's log-probabilities of a prompt's completions, in the form of `Drawn.logps`."""
    import torch

    with answering(model, precision):
        batch = shared_batch([prompt], [[torch.tensor(ids) for ids in completions]], 0)
        device = model.get_input_embeddings().weight.device
        batch = {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
        labels = batch.pop("shift_labels")
        scored = labels != IGNORED
        hidden = model.model(**batch, use_cache=False).last_hidden_state[scored]
        lengths = [len(ids) for ids in completions]
        return [
            model.lm_head(rows).float().log_softmax(-1).gather(-1, ids[:, None])[:, 0].cpu()
            for rows, ids in zip(hidden.split(lengths), labels[scored].split(lengths), strict=True)
        ]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restores what vLLM shares with the trainer: random states, threads, the default dtype."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    set_threads, threads, dtype = torch.set_num_threads, torch.get_num_threads(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu)
