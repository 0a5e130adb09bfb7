"""What a tokenizer is, and what all of them do alike."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


class Tokenizer(Protocol):
    """Text to tokens and back. What looks like a special token in a text is text."""

    @property
    def vocab(self) -> int:
        """Number of tokens, the end of a document counted in: every id is below it."""
        ...

    @property
    def eos(self) -> int:
        """The end of a document. No text encodes to it, and it decodes to nothing."""
        ...

    @property
    def digest(self) -> str:
        """The sha256 of all that decides what a text is encoded to."""
        ...

    def encode(self, text: str) -> Ids:
        """Tokens of a text, without an end.

        Half a surrogate pair, which is no text, counts as U+FFFD.
        """
        ...

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        """Tokens of each text: what `encode` gives, and faster."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD.

        Raises ValueError for an id beyond the vocabulary.
        """
        ...


def well_formed(text: str) -> str:
    """The text, with U+FFFD for every half of a surrogate pair: JSON may hold them,
    UTF-8 may not.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def spoken(tokenizer: Tokenizer, ids: Iterable[int]) -> list[int]:
    """The ids without ends of documents. Raises ValueError for an id beyond the vocabulary."""
    found = [int(token) for token in ids]
    wrong = next((token for token in found if not 0 <= token < tokenizer.vocab), None)
    if wrong is not None:
        raise ValueError(f"there is no token {wrong}: the tokenizer has {tokenizer.vocab:,}")
    return [token for token in found if token != tokenizer.eos]
