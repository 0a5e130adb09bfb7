"""A hash of a split's tokens that can be gone on with: a link for every `CHUNK` tokens, each over
the link before.

It depends on the tokens alone, not on their type nor on how they are cut into blocks and shards.
"""

import hashlib

import numpy as np

from scalelab.data.text.mds import Tokens

CHUNK = 1 << 16
"""Tokens of a link."""


class Chain:
    """The hash of the tokens so far: `link` and the `rest`, fewer than `CHUNK` tokens, are all that
    a checkpoint needs.
    """

    def __init__(self, link: str, rest: Tokens) -> None:
        self.link, self.rest = link, rest

    def add(self, tokens: Tokens) -> None:
        """Go on with these tokens."""
        tokens = np.concatenate([self.rest, tokens])
        end = len(tokens) // CHUNK * CHUNK
        for start in range(0, end, CHUNK):
            self.link = _linked(self.link, tokens[start : start + CHUNK])
        self.rest = tokens[end:].copy()

    def digest(self) -> str:
        """The sha256 of the last link and the rest."""
        return _linked(self.link, self.rest)


def _linked(link: str, tokens: Tokens) -> str:
    return hashlib.sha256(link.encode() + tokens.astype("<u4").tobytes()).hexdigest()
