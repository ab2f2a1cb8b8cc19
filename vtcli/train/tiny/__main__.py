"""`python -m vtcli.train.tiny FOLDER`: makes the plain base of the embedded model from scratch, on a CPU.

The base tells what happens in a clip, in a chat, and was never asked a question: that is left to `vt train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vtcli.models.weights import published_name
from vtcli.prompt import build_prompt
from vtcli.shapes.language import response
from vtcli.shapes.questions import pick
from vtcli.train.shapes import sample_times
from vtcli.train.tiny.checkpoint import model_config, train_tokenizer, write_files
from vtcli.train.tiny.data import draw_clip, prefix_text
from vtcli.train.tiny.fit import STAGES, Trainer
from vtcli.train.tiny.start import look_back

SEED = 0
CORPUS_CLIPS = 3000


def corpus() -> Iterator[str]:
    """Yields the texts that the tokenizer's merges are learned from: prompts and responses of training clips."""
    for number in range(CORPUS_CLIPS):
        scene, rng = draw_clip("train", number)
        question = pick(scene, rng, multiple_choice=number % 2 == 0)
        times, per_grid = sample_times(scene)
        yield build_prompt(question.text, question.choices).user
        yield response(scene, times, per_grid, question.evidence, question.answer, question.choices)
        if number % 3 == 0:
            yield prefix_text()


def main() -> None:
    """Trains the stages in order; `--from STAGE` continues from the weights that the stage before left in `--work`."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the checkpoint goes")
    parser.add_argument("--work", type=Path, default=Path("build/tiny"), help="where weights are kept between stages")
    parser.add_argument("--from", dest="first", default=STAGES[0].name, metavar="STAGE")
    options = parser.parse_args()
    folder, work, names = options.folder, options.work, [stage.name for stage in STAGES]
    if options.first not in names:
        parser.error(f"there is no stage {options.first} (there are: {', '.join(names)})")
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer(corpus())
    write_files(folder, tokenizer)
    work.mkdir(parents=True, exist_ok=True)
    model: Any = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**model_config(tokenizer)))
    model.float()
    look_back(model)
    trainer = Trainer(model, tokenizer, folder / "train.jsonl")
    skipped = names.index(options.first)
    if skipped:
        kept = load_file(work / f"after-{names[skipped - 1]}.safetensors")
        model.load_state_dict({k[6:]: v for k, v in kept.items() if k.startswith("model/")}, strict=False)
        trainer.heads.load_state_dict({k[6:]: v for k, v in kept.items() if k.startswith("heads/")})
    else:
        trainer.log.unlink(missing_ok=True)
    for stage in STAGES[skipped:]:
        trainer.run(stage)
        state = {f"model/{k}": v for k, v in untied(model).items()}
        state |= {f"heads/{k}": v for k, v in trainer.heads.state_dict().items()}
        save_file(state, work / f"after-{stage.name}.safetensors")
    weights = {published_name(k): v.to(torch.bfloat16) for k, v in untied(model).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def untied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns the model's tensors without the output matrix, which is the embedding."""
    return {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}


if __name__ == "__main__":
    main()
