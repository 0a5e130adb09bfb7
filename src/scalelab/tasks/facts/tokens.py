"""Tokens: the 256 bytes, and four that open a turn or end the dialog."""

import numpy as np
import numpy.typing as npt

from scalelab.data.tokens import Tokens

USER, ASSISTANT, DATABASE, EOD = 256, 257, 258, 259
VOCAB = 260

TURNS = frozenset([USER, ASSISTANT, DATABASE, EOD])


def encode(text: str) -> Tokens:
    """The bytes of a text, without a turn token."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)


def decode(tokens: npt.NDArray[np.integer]) -> str:
    """The text of byte tokens.

    Bytes that are no UTF-8 become U+FFFD: a model may write anything.
    """
    assert not tokens.size or tokens.max() < USER, "turn tokens have no text"
    return tokens.astype(np.uint8).tobytes().decode(errors="replace")
