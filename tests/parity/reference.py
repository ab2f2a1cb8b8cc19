"""Runs a case as the paper's harness does, in an environment of its own: `python reference.py JOB.json`.

Nothing of vtcli is imported here, and vtcli does not import this: they meet in files. The reference is transformers
4.51.3 with qwen-vl-utils 0.0.14 and decord; the same script shows what later releases of transformers do by themselves,
used as their own documentation says (frames with their metadata, from 4.57 on).

The job names a checkpoint folder, the cases, where results go, and how many tokens. A case's result is an npz file:
indices (frames), size (height, width), input_ids (L,), positions (3, L), pixels uint8 (T·H·W, 1176; levels before
normalisation), logits float32 (vocabulary,) of the first new token, tokens (generated ids); or a text file with the
reason why the reference itself refuses.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("FORCE_QWENVL_VIDEO_READER", "decord")  # before qwen-vl-utils is imported


def declare_operators() -> Any:
    """torchvision's wheel asks for two operators that only its CUDA build registers; none of them is used here."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def messages(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The paper's layout: system, then one user turn with the video first."""
    wanted = {"fps": case["fps"]} if case["fps"] else {"nframes": case["frames"]}
    for bound in ("start", "end"):
        if case[bound] is not None:
            wanted[f"video_{bound}"] = case[bound]
    video = {"type": "video", "video": case["video"], **wanted}
    video |= {"min_pixels": case["min_pixels"], "max_pixels": case["max_pixels"]}
    return [
        {"role": "system", "content": [{"type": "text", "text": case["system"]}]},
        {"role": "user", "content": [video, {"type": "text", "text": case["user"]}]},
    ]


class Pipeline:
    """Processor and model of one checkpoint under whatever transformers is installed."""

    def __init__(self, checkpoint: str, tokens: int) -> None:
        import torch
        import transformers
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        transformers.logging.set_verbosity_error()
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, torch_dtype=torch.float32).eval()
        self.tokens = tokens
        self.metadata = tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 57)
        text_model = getattr(self.model.model, "language_model", self.model.model)
        self.seen: list[Any] = []
        text_model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        self.seen.append(named["position_ids"])

    def inputs(self, case: dict[str, Any]) -> tuple[Any, list[int]]:
        """What the processor makes of a case, and the frames that qwen-vl-utils took."""
        from qwen_vl_utils import process_vision_info

        talk = messages(case)
        text = self.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        _, found, named = process_vision_info(talk, return_video_kwargs=True, return_video_metadata=True)
        (video, facts), indices = found[0], list(found[0][1]["frames_indices"])
        if self.metadata:
            named["video_metadata"] = [facts]
        else:  # as process_vision_info gives it without metadata
            named = {"fps": [len(indices) / facts["total_num_frames"] * facts["fps"]]}
        return self.processor(text=[text], videos=[video], padding=True, return_tensors="pt", **named), indices

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """The arrays of a case, see above."""
        import numpy as np
        import torch

        inputs, indices = self.inputs(case)
        self.seen.clear()
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=self.tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        length = inputs["input_ids"].shape[1]
        patches = inputs["pixel_values_videos"].float().numpy()
        chosen = getattr(self.processor, "video_processor", None) or self.processor.image_processor
        mean, std = (
            np.repeat(np.asarray(v, np.float32), patches.shape[1] // 3) for v in (chosen.image_mean, chosen.image_std)
        )
        levels = (patches * std + mean) * 255
        _, rows, columns = inputs["video_grid_thw"][0].tolist()
        return {
            "indices": np.asarray(indices),
            "size": np.asarray([rows * 14, columns * 14]),
            "input_ids": inputs["input_ids"][0].numpy(),
            "positions": self.seen[0][-3:, 0].numpy(),
            "pixels": np.rint(levels).astype(np.uint8),
            "logits": output.logits[0][0].float().numpy(),
            "tokens": output.sequences[0, length:].numpy(),
        }


def prompts(checkpoint: str, texts: list[list[str]]) -> list[tuple[str, list[int]]]:
    """Of each system and user text, the whole prompt and its ids before the video's token is repeated."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    found = []
    for system, user in texts:
        talk = [
            {"role": "system", "content": [{"type": "text", "text": system}]},
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": user}]},
        ]
        text = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        found.append((text, processor.tokenizer(text)["input_ids"]))
    return found


def pictures(job: dict[str, Any]) -> None:
    """Writes ids, positions, patches and grids of each case, which is the files of a question about pictures."""
    import numpy as np
    from qwen_vl_utils import process_vision_info

    pipeline = Pipeline(job["checkpoint"], 0)
    for case in job["pictures"]:
        bounds = {"min_pixels": job["min_pixels"], "max_pixels": job["max_pixels"]}
        shown = [{"type": "image", "image": file, **bounds} for file in case["files"]]
        talk = [
            {"role": "system", "content": [{"type": "text", "text": job["system"]}]},
            {"role": "user", "content": [*shown, {"type": "text", "text": job["user"]}]},
        ]
        text = pipeline.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        images, _ = process_vision_info(talk)
        inputs = pipeline.processor(text=[text], images=images, return_tensors="pt")
        grids = inputs["image_grid_thw"]
        positions, _ = pipeline.model.get_rope_index(inputs["input_ids"], image_grid_thw=grids)
        np.savez_compressed(
            Path(job["out"]) / f"{case['name']}.npz",
            input_ids=inputs["input_ids"][0].numpy(),
            positions=positions[:, 0].numpy(),
            patches=inputs["pixel_values"].float().numpy(),
            grids=grids.numpy(),
        )


def main() -> None:
    library = declare_operators()
    assert library is not None  # alive as long as this runs
    import numpy as np
    import torch

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if "prompts" in job:
        Path(job["out"]).write_text(json.dumps(prompts(job["checkpoint"], job["prompts"])), encoding="utf-8")
        return
    if "pictures" in job:
        pictures(job)
        return
    torch.manual_seed(0)
    pipeline = Pipeline(job["checkpoint"], job["tokens"])
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    for case in job["cases"]:
        try:
            np.savez_compressed(out / f"{case['name']}.npz", **pipeline.run(case))
        except Exception as error:
            if not job["refusals"]:
                raise
            (out / f"{case['name']}.txt").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


if __name__ == "__main__":
    main()
