"""Token ids → text, one token at a time: bytes are held until they form whole characters, and none is lost."""

from __future__ import annotations

import codecs
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


class Detokenizer:
    """Incremental decoder of byte-level BPE.

    The concatenated pushes of a reply and one flush equal the decoding of the whole reply: special tokens are left out,
    other added tokens become their text, invalid UTF-8 becomes U+FFFD.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._added = backend.get_added_tokens_decoder()
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Returns the characters this token completes; possibly "", since an emoji takes several tokens."""
        return self._utf8.decode(self._bytes(token))

    def flush(self) -> str:
        """Ends the reply; returns U+FFFD for an unfinished character, otherwise ""."""
        return self._utf8.decode(b"", final=True)

    def _bytes(self, token: int) -> bytes:
        added = self._added.get(token)
        if added is not None:
            return b"" if added.special else str(added.content).encode()
        text = self._backend.id_to_token(token)
        if text is None:  # a padding row of the embedding matrix, not a token
            return b""
        table = byte_table()
        return bytes(table[character] for character in text)


@cache
def byte_table() -> dict[str, int]:
    """Returns GPT-2's byte-level BPE alphabet: printable bytes map to themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
