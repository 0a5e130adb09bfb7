"""The order in which facts are shown: a pure function of the seed and the update's number."""

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import words

_BLOCK = 65_536


class Order:
    """Passes over every fact, one after the other; each is a permutation, and a template is drawn
    at each exposure.

    Exposure k belongs to pass k // facts, and update s takes the exposures from s * batch on: a
    batch may straddle passes.
    """

    def __init__(self, facts: int, templates: int, seed: int, batch: int) -> None:
        self._facts, self._templates, self._seed, self._batch = facts, templates, seed, batch
        self._passes = max(1, _BLOCK // facts)
        self._blocks: dict[int, npt.NDArray[np.int64]] = {}

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """The rows of update number `step` (from 0), [batch]."""
        size = self._passes * self._facts
        start, stop = step * self._batch, (step + 1) * self._batch
        pieces = [
            self._block(block)[max(0, start - block * size) : stop - block * size]
            for block in range(start // size, (stop - 1) // size + 1)
        ]
        return np.concatenate(pieces)

    def _block(self, block: int) -> npt.NDArray[np.int64]:
        """Rows of the block's exposures.

        Passes are drawn many at a time, and only the blocks at hand are kept.
        """
        if block not in self._blocks:
            self._blocks = {kept: rows for kept, rows in self._blocks.items() if kept == block - 1}
            self._blocks[block] = self._draw(block)
        return self._blocks[block]

    def _draw(self, block: int) -> npt.NDArray[np.int64]:
        exposures = np.arange(
            block * self._passes * self._facts, (block + 1) * self._passes * self._facts
        )
        # A random word with the fact in its low bits sorts to a permutation without ties, and
        # faster than argsort.
        low = np.uint64((1 << (self._facts - 1).bit_length()) - 1)
        keys = (words(self._seed, "order", at=exposures) & ~low) | (exposures % self._facts).astype(
            np.uint64
        )
        keys = np.sort(keys.reshape(self._passes, self._facts), axis=1).ravel()
        templates = words(self._seed, "template", at=exposures) % np.uint64(self._templates)
        return ((keys & low) * np.uint64(self._templates) + templates).astype(np.int64)
