"""What a trial's tokens say: from a prompt to tokens, from tokens to text, and which tokens end a
text.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol


class Vocabulary(Protocol):
    """Tokens of one task."""

    @property
    def gap(self) -> int | None:
        """The token that a prompt shows where the model is to fill in; None if the model goes on
        behind the prompt.
        """
        ...

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        ...

    def encode(self, prompt: str) -> list[int]:
        """A prompt as the task writes it; never empty. Raises UserError for what has no tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        ...

    def example(self) -> str:
        """A prompt for who gives none."""
        ...

    def reply(self, ids: Sequence[int]) -> list[int]:
        """Tokens that are fed after a text, such as a tool's answer; mostly none."""
        ...


class Tokenizer(Protocol):
    """See `data.text.tokenizers`."""

    @property
    def eos(self) -> int:
        """The end of a document."""
        ...

    def encode(self, text: str, /) -> Iterable[int]:
        """Tokens of a text."""
        ...

    def decode(self, ids: Iterable[int], /) -> str:
        """The text of tokens."""
        ...


class Documents:
    """Running text. A text without a prompt begins where documents do, after an end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.ends = tokenizer, frozenset([tokenizer.eos])

    @property
    def gap(self) -> int | None:
        return None

    def encode(self, prompt: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(prompt)] or [self.tokenizer.eos]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def example(self) -> str:
        return ""

    def reply(self, ids: Sequence[int]) -> list[int]:
        return []
