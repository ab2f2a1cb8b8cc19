"""Asks one question in one process: prints seconds from process start to the first token, and tokens a second after it.

    python benchmarks/_ask_once.py vt FOLDER CLIP FRAMES TOKENS [COMPILE]
    python benchmarks/_ask_once.py plain FOLDER CLIP FRAMES TOKENS [TORCHVISION_FOLDER]

"plain" is what one would write without vt: AutoProcessor, from_pretrained and generate, in the same precision. The rate
is measured from the second token to the last, because steps are captured or compiled, if at all, before the second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _plain import prepare

QUESTION = "What happens in this video, and why?"
PIXELS = 128 * 28 * 28


def started() -> float:
    """Returns when this process started, on the clock of `time.monotonic` (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def vt(folder: str, clip: str, frames: int, tokens: int, compile: str = "auto") -> dict[str, Any]:
    from vtcli import ask
    from vtcli.engines.base import SamplingOptions
    from vtcli.engines.reply import Reply

    times: list[float] = []
    ids: list[int] = []
    draw = Reply._draw

    def timed(self: Reply) -> Iterator[int]:
        for token in draw(self):
            times.append(time.monotonic())
            ids.append(token)
            yield token

    Reply._draw = timed  # type: ignore[method-assign]
    sampling = SamplingOptions(max_tokens=tokens, temperature=0)
    record = ask.ask(ask.Question(clip, QUESTION, folder, frames=frames, sampling=sampling, compile=compile))
    return _result(times, record["usage"]["prompt_tokens"]) | {"ids": ids}


def plain(folder: str, clip: str, frames: int, tokens: int, torchvision: str = "") -> dict[str, Any]:
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
            pass

    with torch.inference_mode():
        model.generate(**inputs, max_new_tokens=tokens, do_sample=False, streamer=Clock())
    return _result(times[1:], inputs["input_ids"].shape[1])  # the streamer receives the prompt first


def _result(times: list[float], prompt: int) -> dict[str, Any]:
    rate = (len(times) - 2) / (times[-1] - times[1])
    return {"first": times[0] - started(), "rate": rate, "tokens": len(times), "prompt": prompt}


if __name__ == "__main__":
    run, (folder, clip, frames, tokens, *rest) = {"vt": vt, "plain": plain}[sys.argv[1]], sys.argv[2:]
    print(json.dumps(run(folder, clip, int(frames), int(tokens), *rest)))
