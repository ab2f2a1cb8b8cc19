"""What vt adds to TRL's trainers in every stage: checkpoints that survive, and a stop when numbers are not finite."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from vtcli.engines.device import Placement
from vtcli.engines.loading import load_model
from vtcli.errors import TrainError, VtError, first_line
from vtcli.models.checkpoint import Checkpoint, open_checkpoint
from vtcli.train import checkpoints
from vtcli.train.journal import Journal
from vtcli.train.model import copy_beside
from vtcli.train.precision import check_angles, sum_in_float32
from vtcli.train.recipe import Stage

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class Listener(Protocol):
    """Follows a run; every method may do nothing. Only the first process has one that does something."""

    def step(self, stage: str, step: int, steps: int, row: dict[str, Any]) -> None:
        """A step was logged."""

    def saved(self, stage: str, step: int) -> None:
        """A checkpoint is on the disk."""


@dataclass
class Context:
    """What a stage works with.

    folder: the stage's own. evaluate: scores the model on held-out records; None if there are none.
    """

    name: str
    folder: Path
    base: Checkpoint
    stage: Stage
    journal: Journal
    listener: Listener | None = None
    evaluate: Callable[[Any], dict[str, float]] | None = None
    tokens: int = 0
    began: float = field(default_factory=perf_counter)


class VideoTrainer:
    """Mixin that comes before TRL's trainer in a class's bases. Call `follow` before training."""

    context: Context

    def follow(self: Any, context: Context) -> None:
        """Reports to `context` from now on, and to nothing else."""
        self.context = context
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.add_callback(_Follower(self))

    def create_accelerator_and_postprocess(self: Any) -> None:
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        sum_in_float32(self.accelerator.state)

    def _send_telemetry(self) -> None:
        """Sends nothing."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Writes nothing: a checkpoint is not a publication."""

    def training_step(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}")
        return loss

    def _clip_grad_norm(self: Any, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if norm is not None and not math.isfinite(float(norm)):
            raise self._diverged(f"the gradient's norm is {float(norm)}")
        return norm

    def _diverged(self: Any, what: str) -> TrainError:
        name, kept = self.context.name, checkpoints.complete(self.context.folder)
        last = f"the last good checkpoint is step {checkpoints.step_of(kept[-1])}" if kept else "no checkpoint was made"
        return TrainError(
            f"{name} step {self.state.global_step + 1}: {what}; {last}; go on with a lower {name}.learning_rate "
            f"(now {self.context.stage.learning_rate:g})"
        )

    # Checkpoints: transformers writes into `_get_output_dir`, and the result is renamed once it is complete.

    _aside: Path | None = None

    def _get_output_dir(self: Any, trial: Any = None) -> str:
        return str(self._aside) if self._aside else super()._get_output_dir(trial=trial)  # type: ignore[misc]

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        folder, step = self.context.folder, self.state.global_step
        self._aside = folder / checkpoints.ASIDE
        name = f"checkpoint-{step}"
        if self.accelerator.is_main_process:
            shutil.rmtree(self._aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                checkpoints.finish(self._aside / name, folder / name)
                checkpoints.rotate(folder, self.context.stage.keep)
        except VtError:
            raise
        except Exception as error:  # each library raises its own error for a full disk
            kept = checkpoints.complete(folder)
            last = f"step {checkpoints.step_of(kept[-1])} is whole" if kept else "there is none before it"
            raise TrainError(
                f"the checkpoint of {self.context.name} step {step} was not written ({first_line(error)}): {last}; "
                "make room and start again to go on"
            ) from error
        finally:
            aside, self._aside = self._aside, None
            if self.accelerator.is_main_process:
                shutil.rmtree(aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if self.context.listener:
            self.context.listener.saved(self.context.name, step)

    def _save(self: Any, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Saves weights and the base's files, but no pickled arguments, which nothing here would read."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        model.save_pretrained(folder, state_dict=state_dict, is_main_process=True)
        copy_beside(self.context.base.path, folder)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads the weights as those of any checkpoint; all of them must be there.

        transformers 5 saves weights under their published names and looks for others when it resumes: it finds none,
        reports that in its log only, and continues from the base.
        """
        if self.is_fsdp_enabled or hasattr(self.model, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        folder, own = Path(resume_from_checkpoint), self.model if model is None else model
        weights, _ = load_model(open_checkpoint(folder), Placement("cpu", str(own.dtype).removeprefix("torch.")))
        own.load_state_dict(weights.state_dict())


class _Follower(TrainerCallback):
    """Evaluates when it is due, and writes what transformers logs to the journal."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def _context(self) -> Context:
        context: Context = self._trainer.context
        return context

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        context = self._context
        for model in (self._trainer.model, getattr(self._trainer, "ref_model", None)):
            if model is not None:
                check_angles(model)
        if state.is_world_process_zero:
            context.journal.begin(state.global_step)
        context.began, context.tokens = perf_counter(), 0
        if state.global_step == 0:
            self._evaluate(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._context.stage.evaluate_every == 0 or state.global_step == state.max_steps:
            self._evaluate(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        context = self._context
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        seconds = perf_counter() - context.began
        row = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        row |= {"seconds": round(seconds, 3), "tokens": context.tokens}
        if torch.cuda.is_available():
            row["gpu_memory"] = torch.cuda.max_memory_allocated()
        context.journal.write(state.global_step, **row)
        if context.listener:
            context.listener.step(context.name, state.global_step, state.max_steps, row)

    def _evaluate(self, state: TrainerState) -> None:
        context = self._context
        if context.evaluate is None:
            return
        begun = perf_counter()
        scores = context.evaluate(self._trainer)
        context.began += perf_counter() - begun  # evaluation is not training time
        if state.is_world_process_zero:
            row = {f"held_out/{name}": value for name, value in scores.items()}
            context.journal.write(state.global_step, **row)
            if context.listener:
                context.listener.step(context.name, state.global_step, state.max_steps, row)
