"""Pieces of text as tokens, which are joined by their numbers: millions of tokens a second without
a loop.

X texts, F fragments of a text, M tokens in all.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from scalelab.data.tokens import Tokens
from scalelab.tasks.biography.tokens import Tokenizer

Numbers = npt.NDArray[np.int32]

EMPTY = 0
"""The number of the fragment without tokens."""


class Fragments:
    """Fragments in the order in which they are added."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.opening, self.closing = (" ", "") if tokenizer.opens else ("", " ")
        """The space between two words, as the one that follows begins, and as what stands before it
        ends.
        """
        self.length = np.zeros(1, np.int64)
        self._start, self._tokens = np.zeros(1, np.int64), np.empty(0, np.uint16)

    def add(self, texts: Iterable[str]) -> Numbers:
        """Encode texts; returns their numbers."""
        encoded = [self.tokenizer.encode(text) for text in texts]
        tokens = np.array([token for tokens in encoded for token in tokens], np.uint16)
        return self._keep(tokens, np.array([len(tokens) for tokens in encoded], np.int64))

    def add_words(self, texts: Iterable[str]) -> Numbers:
        """Encode texts that follow a space; returns their numbers."""
        return self.add(f"{self.opening}{text}" for text in texts)

    def add_openings(self, texts: Iterable[str]) -> Numbers:
        """Encode texts that end with the space before a word; returns their numbers."""
        return self.add(f"{text.removesuffix(' ')}{self.closing}" for text in texts)

    def add_marks(self, *marks: int) -> int:
        """A fragment of these tokens; returns its number."""
        return int(self._keep(np.array(marks, np.uint16), np.array([len(marks)]))[0])

    def add_joined(self, numbers_XF: Numbers) -> Numbers:
        """What rows of fragments give when they are joined, as fragments of their own; returns
        their numbers.
        """
        return self._keep(self.tokens(numbers_XF), self.lengths(numbers_XF))

    def lengths(self, numbers_XF: Numbers) -> npt.NDArray[np.int64]:
        """Tokens of each row of fragments, [X]."""
        return self.length[numbers_XF].sum(-1)

    def tokens(self, numbers_XF: Numbers) -> Tokens:
        """The tokens of all rows, one after the other, [M]."""
        numbers = numbers_XF.ravel()
        length = self.length[numbers]
        before = np.cumsum(length) - length
        at = np.repeat(self._start[numbers] - before, length)
        at += np.arange(len(at))
        return self._tokens[at]

    def _keep(self, tokens: Tokens, lengths: npt.NDArray[np.int64]) -> Numbers:
        first = len(self.length)
        self._start = np.concatenate(
            [self._start, len(self._tokens) + np.cumsum(lengths) - lengths]
        )
        self.length = np.concatenate([self.length, lengths])
        self._tokens = np.concatenate([self._tokens, tokens])
        return np.arange(first, len(self.length), dtype=np.int32)
