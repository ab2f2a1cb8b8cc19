"""Prompt-lookup decoding: guess that the text continues as it did after the last occurrence of its latest tokens.

Reading several tokens at once takes a model hardly longer than reading one, so correct guesses save whole decode steps
and wrong ones cost little; the reply is the same either way. Traces repeat their tags, their times and the question's
words. Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GUESSED = 4
"""Tokens that engines guess ahead where the text repeats itself."""
_LENGTH = 3
"""Tokens that must match before their continuation is used as a guess."""


class Lookup:
    """The tokens of the prompt and of the reply so far, indexed for guessing."""

    def __init__(self, most: int, tokens: Iterable[int] = ()) -> None:
        self._most = most
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # where the text continued after these tokens last
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Appends `token`."""
        if len(self._tokens) >= _LENGTH:
            self._after[tuple(self._tokens[-_LENGTH:])] = len(self._tokens)
        self._tokens.append(token)

    def guess(self) -> Sequence[int]:
        """Returns at most `most` tokens that may follow; none if the latest tokens have not occurred before."""
        where = self._after.get(tuple(self._tokens[-_LENGTH:]))
        return () if where is None else self._tokens[where : where + self._most]
