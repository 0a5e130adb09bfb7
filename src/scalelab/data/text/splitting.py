"""Which text is for training, which for validation and which for the test.

It depends on the corpus and the split's seed alone.

A corpus that comes split stays so. One of many documents is split by a hash of the seed and each
document's number. One of few (a single text file) is cut where lines end: the last of its text is
the test, what stands before that the validation.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalelab.data.hashing import words
from scalelab.data.spec import Corpus
from scalelab.data.text.corpora import Source
from scalelab.data.text.documents import Piece, line_end
from scalelab.data.text.manifest import SPLITS, SplitName

FEW = 200
"""Documents below which a corpus is cut instead of dealt out: the splits would be too uneven."""

_DEALT = 1 << 16


class Position(NamedTuple):
    """A place in the text: stages (splits that the corpus comes with), documents and their parts
    ascend.
    """

    stage: int
    document: int
    part: int


class Part(NamedTuple):
    """Some text of a split; the last part of a document says so."""

    at: Position
    split: SplitName
    text: str
    last: bool


class Splitter:
    """The text of a corpus by splits, in the order that it is prepared in."""

    def __init__(self, corpus: Corpus, source: Source) -> None:
        self._corpus, self._source = corpus, source
        self._comes_split = len(source.splits) > 1
        self._length = None if self._comes_split or source.endless else _length_if_few(source)

    def quotas(self, limit: int | None) -> dict[SplitName, int] | None:
        """Most tokens of each split where that does not depend on the others: `limit` is shared
        out, or cuts the training alone.
        """
        if limit is None or (not self._comes_split and self._length is None):
            return None
        if self._comes_split:
            return {"train": limit}
        held_out = max(1, round(self._corpus.validation * limit))
        return {"train": max(1, limit - 2 * held_out), "validation": held_out, "test": held_out}

    def parts(
        self, after: Position | None = None, full: Callable[[SplitName], bool] = lambda split: False
    ) -> Iterator[Part]:
        """The text behind a position, all of it where that is None; that of splits which are full
        may be left out.
        """
        for stage, split in enumerate(self._source.splits):
            if after is not None and stage < after.stage:
                continue
            # What is cut is counted from its start; of other text the documents before need not be
            # read again.
            start = after.document if after and stage == after.stage and self._length is None else 0
            for part in self._numbered(stage, split, start):
                if full(part.split) and self._length is None:
                    break
                if not full(part.split) and (after is None or part.at > after):
                    yield part

    def _numbered(self, stage: int, split: SplitName, start: int) -> Iterator[Part]:
        deal = self._dealer(split)
        document, count, begun = -1, 0, False
        for piece in self._source.pieces(split, start):
            if piece.document != document:
                document, count = piece.document, 0
            for name, text, last in deal(piece):
                if text or begun:  # a document without text is none
                    yield Part(Position(stage, document, count), name, text, last)
                begun, count = bool(text or begun) and not last, count + 1

    def _dealer(self, split: SplitName) -> "Dealer":
        if self._comes_split:
            return lambda piece: _whole(split, piece)
        share, seed = self._corpus.validation, self._corpus.split
        if self._length is None:
            return lambda piece: _whole(split_of(piece.document, share, seed), piece)
        return _Knife(self._length, share)


Dealer = Callable[[Piece], Iterator[tuple[SplitName, str, bool]]]
"""The splits of a piece's text, and whether a document ends there."""


def _whole(split: SplitName, piece: Piece) -> Iterator[tuple[SplitName, str, bool]]:
    yield split, piece.text, piece.last


class _Knife:
    """Cuts running text of a known length in three, where lines end."""

    def __init__(self, length: int, share: float) -> None:
        held_out = max(1, round(share * length))
        self._ends = [length - 2 * held_out, length - held_out]
        self._seen, self._split = 0, 0

    def __call__(self, piece: Piece) -> Iterator[tuple[SplitName, str, bool]]:
        text = piece.text
        while self._split < len(self._ends) and self._ends[self._split] < self._seen + len(text):
            end = line_end(text, max(0, self._ends[self._split] - self._seen))
            yield SPLITS[self._split], text[:end], True
            self._seen, self._split, text = self._seen + end, self._split + 1, text[end:]
        self._seen += len(text)
        yield SPLITS[self._split], text, piece.last


def split_of(document: int, share: float, seed: int) -> SplitName:
    """The split of a document of many."""
    return SPLITS[_dealt(document // _DEALT, share, seed)[document % _DEALT]]


@lru_cache(maxsize=2)
def _dealt(block: int, share: float, seed: int) -> bytes:
    """Places in `SPLITS` of some documents, one after the other."""
    drawn = words(seed, "split", at=np.arange(block * _DEALT, (block + 1) * _DEALT)) * 2.0**-64
    return np.where(drawn < share, 2, np.where(drawn < 2 * share, 1, 0)).astype(np.uint8).tobytes()


def _length_if_few(source: Source) -> int | None:
    """Characters of a corpus of few documents, None for one of many.

    Memory does not grow with it.
    """
    found = 0
    for piece in source.pieces("train", 0):
        found += len(piece.text)
        if piece.document >= FEW:
            return None
    return found
