"""A checkpoint's tokenizer: prompt → text and token ids, token ids → text. Uses `tokenizers`, not transformers.

User text stays text: `<|im_end|>` in a question is encoded as ordinary tokens, never as the control token, so that a
question cannot end its own turn or pretend to be the video.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtcli.errors import ModelError, first_line
from vtcli.install import require
from vtcli.models.detokenizer import Detokenizer
from vtcli.models.files import read_json
from vtcli.models.gguf import read_gguf
from vtcli.models.gguf_tokenizer import gguf_backend, gguf_config, gguf_template
from vtcli.models.template import find_template, render
from vtcli.prompt import Prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

#: Qwen2's pre-tokenizer (transformers, models/qwen2/tokenization_qwen2.py).
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """The tokenizer and chat template of a model folder or GGUF file. `backend` is the library's tokenizer.

    Raises ModelError if the model lacks either, EngineError if `tokenizers` or `jinja2` is not installed.
    """

    def __init__(self, model: Path) -> None:
        self.backend, self._config, self._template = _from_gguf(model) if model.is_file() else _from_folder(model)
        self.backend.no_truncation()
        self.backend.no_padding()
        self.backend.encode_special_tokens = True  # only encode_prompt inserts control tokens
        added = self.backend.get_added_tokens_decoder()
        self._special = {token.content: id for id, token in added.items() if token.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if self._special else None

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, including added tokens."""
        return self.backend.get_vocab_size()

    def encode_prompt(self, prompt: Prompt) -> tuple[str, list[int]]:
        """Returns the prompt rendered by the chat template, and its ids with one `<|video_pad|>` per video.

        The result equals tokenising the rendered text at once, except that control tokens inside the prompt's own texts
        stay text.
        """
        # While the template runs, unguessable placeholders replace the control tokens in the prompt's texts.
        quoted: dict[str, str] = {}
        nonce = secrets.token_hex(8)

        def quote(match: re.Match[str]) -> str:
            mark = f"[{nonce}:{len(quoted)}]"
            quoted[mark] = match[0]
            return mark

        def unquote(text: str) -> str:
            for mark, original in quoted.items():
                text = text.replace(mark, original)
            return text

        user, *later = (self._hide(text, quote) for text in (prompt.user, *prompt.later))
        system = None if prompt.system is None else self._hide(prompt.system, quote)
        hidden = replace(prompt, system=system, user=user, later=tuple(later))
        rendered = render(self._template, hidden.messages(), self._variables())
        ids: list[int] = []
        for piece in self._pattern.split(rendered) if self._pattern else [rendered]:
            if piece in self._special:
                ids.append(self._special[piece])
            elif piece:
                ids += self.encode(unquote(piece))
        return unquote(rendered), ids

    def encode(self, text: str) -> list[int]:
        """Returns the ids of plain text; nothing in it becomes a control token."""
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of generated tokens without control tokens; invalid UTF-8 becomes U+FFFD."""
        stream = self.detokenizer()
        return "".join(map(stream.push, ids)) + stream.flush()

    def detokenizer(self) -> Detokenizer:
        """Returns a new incremental decoder for one reply."""
        return Detokenizer(self.backend)

    def _hide(self, text: str, quote: Any) -> str:
        return self._pattern.sub(quote, text) if self._pattern else text

    def _variables(self) -> dict[str, str]:
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        values = {name: self._config.get(name) for name in names}
        values = {name: value.get("content") if isinstance(value, dict) else value for name, value in values.items()}
        return {name: value for name, value in values.items() if isinstance(value, str)}


def _from_gguf(file: Path) -> tuple[Backend, dict[str, Any], str]:
    require("the model's tokenizer", "gguf", "tokenizers", "jinja2")
    gguf = read_gguf(file)
    return gguf_backend(gguf), gguf_config(gguf), gguf_template(gguf)


def _from_folder(folder: Path) -> tuple[Backend, dict[str, Any], str]:
    require("the model's tokenizer", "torch", "tokenizers", "jinja2")
    config = read_json(folder / "tokenizer_config.json")
    return _load(folder, config), config, find_template(folder)


def _load(folder: Path, config: dict[str, Any]) -> Backend:
    from tokenizers import Tokenizer as Backend

    try:
        if (folder / "tokenizer.json").is_file():
            backend = Backend.from_file(str(folder / "tokenizer.json"))
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            backend = _byte_level_bpe(folder)
        else:
            raise ModelError(f"{folder} has no tokenizer (tokenizer.json, or vocab.json and merges.txt)")
        _add_tokens(backend, config)
    except ModelError:
        raise
    except Exception as error:  # the library raises plain Exception for any error in the files
        raise ModelError(f"the tokenizer in {folder} cannot be read: {first_line(error)}") from error
    return backend


def _byte_level_bpe(folder: Path) -> Backend:
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    return as_qwen(Backend(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))))


def as_qwen(backend: Backend) -> Backend:
    """Gives `backend`, a BPE, the normaliser, pre-tokenizer and decoder of Qwen2, and returns it."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _add_tokens(backend: Backend, config: dict[str, Any]) -> None:
    """Adds the tokens of tokenizer_config.json that the tokenizer lacks, and checks that every id matches."""
    from tokenizers import AddedToken

    listed = config.get("added_tokens_decoder") or {}
    for number, values in sorted((int(key), value) for key, value in listed.items()):
        content = values["content"]
        if backend.token_to_id(content) is None:
            names = ("lstrip", "rstrip", "normalized", "single_word", "special")
            backend.add_tokens([AddedToken(content, **{key: bool(values[key]) for key in names if key in values})])
        found = backend.token_to_id(content)
        if found != number:
            raise ModelError(f"token {content} has id {found}, tokenizer_config.json says {number}")
