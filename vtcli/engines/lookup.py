"""Prompt-lookup decoding: what followed the last time the text read as it does now is likely to follow again.

A model that reads several tokens at once takes hardly longer than for one, so guesses that hold save whole steps and
those that fail cost little; the reply is the same either way. Traces
repeat their tags, their times and the question's words. Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GUESSED = 4
"""Tokens that engines read ahead where the text repeats itself."""
_LENGTH = 3
"""Tokens that must agree before what followed them is taken for a guess."""


class Lookup:
    """The tokens of the prompt and of the reply so far."""

    def __init__(self, most: int, tokens: Iterable[int] = ()) -> None:
        self._most = most
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # where the text went on after its last tokens were these
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Appends `token`."""
        if len(self._tokens) >= _LENGTH:
            self._after[tuple(self._tokens[-_LENGTH:])] = len(self._tokens)
        self._tokens.append(token)

    def guess(self) -> Sequence[int]:
        """At most `most` tokens that may follow; none where the last ones are new."""
        where = self._after.get(tuple(self._tokens[-_LENGTH:]))
        return () if where is None else self._tokens[where : where + self._most]
