"""From tokens, which come one by one, to text that no later token changes."""

from collections.abc import Sequence
from typing import Protocol

_CHARACTER = 3
"""Bytes of an unfinished character at most. Tokenizers show them as one U+FFFD, or as one each."""

_BEFORE = 8
"""Tokens before the new ones that are decoded with them: how a tokenizer writes a token may depend
on those around it.
"""


class Decodes(Protocol):
    """What a writer asks of a vocabulary."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        ...


class Writer:
    """Text behind a prompt.

    What could still become another character, or a stop string, is held back.

    `stopped` is true once a stop string has come; the text ends before it.
    """

    def __init__(
        self, vocabulary: Decodes, prompt: Sequence[int], stops: Sequence[str] = ()
    ) -> None:
        self._vocabulary, self._stops = vocabulary, tuple(filter(None, stops))
        self._window = list(prompt[-_BEFORE:])
        self._told = len(vocabulary.decode(self._window))
        """Characters of the window's text that are behind us."""
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token decides; often that of the token, sometimes more, less or
        nothing.
        """
        self._window.append(token)
        text = self._vocabulary.decode(self._window)
        fixed = len(text)
        while fixed > self._told and len(text) - fixed < _CHARACTER and text[fixed - 1] == "\ufffd":
            fixed -= 1
        new, self._told = text[self._told : fixed], max(fixed, self._told)
        if fixed == len(text) and len(self._window) > 4 * _BEFORE:
            self._window = self._window[-_BEFORE:]
            self._told = len(self._vocabulary.decode(self._window))
        return self._write(new)

    def close(self) -> str:
        """What was held back, where no token follows."""
        rest = self._vocabulary.decode(self._window)[self._told :]
        self._told += len(rest)
        text = self._write(rest)
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _write(self, new: str) -> str:
        """Up to the first stop string, or to what may be the beginning of one."""
        text, self._held = self._held + new, ""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:  # the one that is complete first, however many characters a token has
            self.stopped = True
            return text[: min(found)[1]]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop string."""
    return next(
        (
            size
            for size in range(min(len(stop) - 1, len(text)), 0, -1)
            if text.endswith(stop[:size])
        ),
        0,
    )
