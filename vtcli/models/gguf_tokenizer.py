"""Read the tokenizer and chat template stored in a GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtcli.errors import ModelError, first_line
from vtcli.models.gguf import Gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

FAMILY_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Renders vt's messages as the template of every published Qwen2.5-VL does."""
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's token types


def gguf_backend(gguf: Gguf) -> Backend:
    """Returns the file's tokenizer. Raises ModelError if it is not Qwen's byte-level BPE."""
    try:
        return _backend(gguf)
    except ModelError:
        raise
    except Exception as error:  # the library raises plain Exception for any error in words and merges
        raise ModelError(f"the tokenizer in {gguf.path} cannot be read: {first_line(error)}") from error


def _backend(gguf: Gguf) -> Backend:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    from vtcli.models.tokenizer import as_qwen

    of = gguf.metadata
    kind, splits = of.get("tokenizer.ggml.model"), of.get("tokenizer.ggml.pre")
    if (kind, splits) != ("gpt2", "qwen2"):
        raise ModelError(f"{gguf.path} has a tokenizer of the kind {kind}/{splits}, not Qwen2's (gpt2/qwen2)")
    words = of["tokenizer.ggml.tokens"]
    types = of.get("tokenizer.ggml.token_type") or [NORMAL] * len(words)
    used = {
        word: (number, kind)
        for number, (word, kind) in enumerate(zip(words, types, strict=True))
        if kind != UNUSED and not (kind == USER_DEFINED and word.startswith("[PAD"))  # padding rows
    }
    merges = [tuple(merge.split(" ", 1)) for merge in of.get("tokenizer.ggml.merges", [])]
    backend = as_qwen(Backend(BPE({word: number for word, (number, _) in used.items()}, merges)))
    backend.add_tokens(
        [
            AddedToken(word, special=kind == CONTROL, normalized=False)
            for word, (_, kind) in used.items()
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    return backend


def gguf_config(gguf: Gguf) -> dict[str, Any]:
    """Returns the values of tokenizer_config.json that templates may use."""
    of = gguf.metadata
    words = of.get("tokenizer.ggml.tokens", [])
    names = {"eos_token": "eos", "pad_token": "padding", "bos_token": "bos"}
    numbers = {ours: of.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    return {ours: words[number] for ours, number in numbers.items() if number is not None and number < len(words)}


def gguf_template(gguf: Gguf) -> str:
    """Returns the chat template; the family's if the file has none or one for text only."""
    template = gguf.metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) and "<|video_pad|>" in template else FAMILY_TEMPLATE
