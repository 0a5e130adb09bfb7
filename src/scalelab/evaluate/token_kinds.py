"""Kinds of tokens, by what they stand for. V vocabulary."""

import string

import numpy as np
import numpy.typing as npt

from scalelab.data.text.tokenizers.protocol import Tokenizer

KINDS = ("letter", "digit", "space", "punctuation", "newline", "other")
"""What a token may be; `other` are bytes beyond ASCII, tokens of several kinds, and
special ones.
"""


def kinds(tokenizer: Tokenizer, vocab: int) -> npt.NDArray[np.int64]:
    """The kind of each of `vocab` tokens, as an index into `KINDS`, [V].

    Those beyond the tokenizer's own are special ones.
    """
    texts = [tokenizer.decode([token]) if token < tokenizer.vocab else "" for token in range(vocab)]
    return np.array([KINDS.index(kind_of(text)) for text in texts])


def kind_of(text: str) -> str:
    """The kind of a token's text. A space before a word does not count."""
    found = {_kind(character) for character in text.removeprefix(" ") or text}
    return found.pop() if len(found) == 1 else "other"


def _kind(character: str) -> str:
    if character == "\n":
        return "newline"
    if character in string.whitespace:
        return "space"
    if character in string.punctuation:
        return "punctuation"
    if character == "\N{REPLACEMENT CHARACTER}":
        return "other"
    return "letter" if character.isalpha() else "digit" if character.isdecimal() else "other"
