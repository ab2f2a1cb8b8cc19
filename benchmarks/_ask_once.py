"""One question, one process: prints seconds from the process's start to the first token, and tokens a second after it.

    python benchmarks/_ask_once.py vt|plain FOLDER CLIP FRAMES TOKENS [TORCHVISION_FOLDER]

"plain" is what one would write without vt: AutoProcessor, from_pretrained and generate, in the same precision.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from _plain import prepare

QUESTION = "What happens in this video, and why?"
PIXELS = 128 * 28 * 28


def started() -> float:
    """When this process was started, on the clock of `time.monotonic` (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def vt(folder: str, clip: str, frames: int, tokens: int) -> dict[str, float]:
    from vtcli import ask
    from vtcli.engines.base import SamplingOptions
    from vtcli.engines.transformers import TransformersEngine

    first: list[float] = []
    step = TransformersEngine._step

    def timed(self: Any, *arguments: Any) -> Any:
        if not first:  # the first token is there when the second is begun
            first.append(time.monotonic())
        return step(self, *arguments)

    TransformersEngine._step = timed  # type: ignore[method-assign]
    sampling = SamplingOptions(max_tokens=tokens, temperature=0)
    record = ask.ask(ask.Question(clip, QUESTION, folder, frames=frames, sampling=sampling))
    usage, timing = record["usage"], record["timing"]
    return _result(first[0], usage["completion_tokens"], timing["generate"], usage["prompt_tokens"])


def plain(folder: str, clip: str, frames: int, tokens: int, torchvision: str = "") -> dict[str, float]:
    import torch

    from vtcli.engines.device import place
    from vtcli.models.checkpoint import open_checkpoint
    from vtcli.prompt import build_prompt

    prompt, placement = build_prompt(QUESTION), place("auto", open_checkpoint(folder).weights.parameters)
    said, pixels = (prompt.system, prompt.user), {"min_pixels": PIXELS, "max_pixels": PIXELS}
    _, model, inputs = prepare(folder, clip, frames, said, placement.dtype, placement.device, torchvision, **pixels)
    times: list[float] = []

    class Clock:
        def put(self, _value: Any) -> None:
            times.append(time.monotonic())

        def end(self) -> None:
            times.append(time.monotonic())

    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, streamer=Clock())
    count = output.shape[1] - inputs["input_ids"].shape[1]
    # The streamer is given the prompt first, then each token.
    return _result(times[1], count, times[-1] - times[1], inputs["input_ids"].shape[1])


def _result(first: float, count: int, seconds: float, prompt: int) -> dict[str, float]:
    return {"first": first - started(), "rate": (count - 1) / seconds, "tokens": count, "prompt": prompt}


if __name__ == "__main__":
    run, (folder, clip, frames, tokens, *rest) = {"vt": vt, "plain": plain}[sys.argv[1]], sys.argv[2:]
    print(json.dumps(run(folder, clip, int(frames), int(tokens), *rest)))
