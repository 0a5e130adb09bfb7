"""Tokens of biographies: bytes, a closed vocabulary of words, or those of GPT-2.

All write the same text.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Protocol

from scalelab.data.spec import Tiktoken
from scalelab.data.text.tokenizers import open_tokenizer

EOS, DOMAIN = "<eos>", "<domain>"
"""The marks, as they are shown in decoded text: EOS stands before every biography, DOMAIN tells a
useful one from junk.
"""

_WORD = re.compile(r"'s|[A-Za-z]+|[0-9]+|[.,]")
_CLOSE = {".", ",", "'s"}


class Tokenizer(Protocol):
    """Text to tokens and back."""

    vocab: int
    eos: int
    domain: int
    opens: bool
    """Whether a word's token holds the space before it, so that a fragment begins with the space
    and none ends with one.
    """

    def encode(self, text: str) -> list[int]:
        """Tokens of a text without marks."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, marks included."""
        ...


class Words:
    """A closed vocabulary: two marks, and the words and points of some texts.

    A space stands before every word that follows another.
    """

    opens = False

    def __init__(self, texts: Iterable[str]) -> None:
        words = dict.fromkeys(word for text in texts for word in _WORD.findall(text))
        self.words = (EOS, DOMAIN, *words)
        self.vocab, self.eos, self.domain = len(self.words), 0, 1
        self._ids = {word: token for token, word in enumerate(self.words)}

    def encode(self, text: str) -> list[int]:
        return [self._ids[word] for word in _WORD.findall(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        text, opens = "", True
        for word in (self.words[token] for token in tokens):
            text += word if opens or word in _CLOSE or word in (EOS, DOMAIN) else f" {word}"
            opens = word in (EOS, DOMAIN)
        return text


class Bytes:
    """The 256 bytes, and two marks."""

    vocab, eos, domain = 258, 256, 257
    opens = False

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Iterable[int]) -> str:
        marks = {self.eos: EOS.encode(), self.domain: DOMAIN.encode()}
        return b"".join(marks.get(token) or bytes([token]) for token in tokens).decode(
            errors="replace"
        )


class Gpt2:
    """GPT-2's byte-pair encoding (see `data.text.tokenizers.tiktoken` for where its files are
    looked for).

    Its end of text is EOS. It has no second mark: DOMAIN is the token of byte 0, which no biography
    holds, so that the vocabulary stays GPT-2's. Raises UserError where the files are not to be had.
    """

    opens = True

    def __init__(self) -> None:
        self._bpe = open_tokenizer(Tiktoken())
        self.vocab, self.eos = self._bpe.vocab, self._bpe.eos
        (self.domain,) = self._bpe.encode("\0").tolist()

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(text).tolist()

    def decode(self, tokens: Iterable[int]) -> str:
        marks = {self.eos: EOS, self.domain: DOMAIN}
        parts = groupby(tokens, marks.get)
        return "".join(
            mark * len(list(some)) if mark else self._bpe.decode(some) for mark, some in parts
        )
