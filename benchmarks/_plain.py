"""What one would write without vt: AutoProcessor, from_pretrained and generate. Prints the token count and the text.

    python benchmarks/_plain.py FOLDER CLIP MAX_TOKENS SYSTEM USER [TORCHVISION_FOLDER]

This family's processor needs torchvision, which has no CPU build on PyPI. Under a CPU torch it imports once the two
operators it lacks are declared. That takes no time worth counting.
"""

from __future__ import annotations

import sys
from typing import Any

from _torchvision import declare_operators


def prepare(
    folder: str,
    clip: str,
    frames: int,
    prompt: tuple[str, str],
    dtype: str,
    device: str,
    torchvision: str,
    **pixels: int,
) -> tuple[Any, Any, Any]:
    """Returns processor, model and inputs for `prompt`, the texts of the system and of the user."""
    import torch

    if torchvision:
        sys.path.insert(0, torchvision)
        declare_operators()
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
    from transformers.video_utils import load_video

    processor = AutoProcessor.from_pretrained(folder, **pixels)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    system, user = prompt
    messages = [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": user}]},
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    video, metadata = load_video(clip, num_frames=frames, backend="pyav")
    inputs = processor(
        text=[text], videos=[video], video_metadata=[metadata], do_sample_frames=False, return_tensors="pt"
    ).to(device)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(model.dtype)
    return processor, model, inputs


def main(folder: str, clip: str, max_tokens: str, system: str, user: str, torchvision: str = "") -> None:
    import torch

    processor, model, inputs = prepare(folder, clip, 16, (system, user), "float32", "cpu", torchvision)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=int(max_tokens), do_sample=False)
    reply = output[:, inputs["input_ids"].shape[1] :]
    print(reply.shape[1], processor.batch_decode(reply, skip_special_tokens=True)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
