"""What a trial's tokens say: from a prompt to tokens, from tokens to text, and which tokens end a
text or call a tool.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Tool:
    """What answers a model in the middle of its text."""

    call: int
    """The token that calls it."""
    answer: Callable[[Sequence[Ids], Sequence[int]], Sequence[Ids]]
    """Texts that end in a call, with their prompts, and the indices of these prompts -> the tokens
    that are fed behind each text.
    """


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
        """Tokens that end a text, unless they call the tool."""
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

    @property
    def tool(self) -> Tool | None:
        """The tool that a text may call; mostly none."""
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

    tool: Tool | None = None

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
