"""The order of a corpus's windows: a pure function of the seed and the update's number.

Window j of a split holds the tokens from jT to jT + T, both counted in: the last is only predicted,
and begins the next window. What is left behind the last whole window is dropped. A pass shows every
window once, the next one in another order. Windows are shuffled within groups of about `GROUP`
tokens that follow each other, and the groups among themselves: near enough to a shuffle of all, and
only the shards of one group have to be at hand.

B windows of a batch, T positions, S = T + 1 tokens.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import words
from scalelab.data.text.reading import Running

GROUP = 1 << 24
"""Tokens of a group, about."""

Ids = npt.NDArray[np.int64]


def count(tokens: int, context: int) -> int:
    """Whole windows of a text."""
    return max(0, (tokens - 1) // context)


class Order:
    """Which window stands at each place of the training."""

    def __init__(self, windows: int, context: int, seed: int, group: int = GROUP) -> None:
        self._windows, self._seed = windows, seed
        size = max(1, group // context)
        self._starts = np.arange(0, windows, size)
        self._sizes = np.minimum(size, windows - self._starts)
        # A batch may straddle two passes of several small groups; more are not looked at again.
        self._groups, self._within = lru_cache(2)(self._groups_of), lru_cache(4)(self._within_group)

    def at(self, place_B: Ids) -> Ids:
        """The windows at places counted from the start of training."""
        turn_B, place_B = np.divmod(place_B, self._windows)
        found_B = np.empty_like(place_B)
        for turn in np.unique(turn_B).tolist():
            group_G, end_G = self._groups(turn)
            here_B = turn_B == turn
            at_B = np.searchsorted(end_G, place_B[here_B], side="right")
            inside_B = place_B[here_B] - (end_G - self._sizes[group_G])[at_B]
            found_B[here_B] = self._inside(turn, group_G[at_B], inside_B)
        return found_B

    def _inside(self, turn: int, group_B: Ids, inside_B: Ids) -> Ids:
        found_B = np.empty_like(inside_B)
        for group in np.unique(group_B).tolist():
            here_B = group_B == group
            found_B[here_B] = self._starts[group] + self._within(turn, group)[inside_B[here_B]]
        return found_B

    def _groups_of(self, turn: int) -> tuple[Ids, Ids]:
        """The groups of a pass in its order, and where each ends."""
        group_G = permutation(len(self._starts), self._seed, "groups", turn)
        return group_G, np.cumsum(self._sizes[group_G])

    def _within_group(self, turn: int, group: int) -> Ids:
        return permutation(int(self._sizes[group]), self._seed, "windows", turn, group)


def permutation(size: int, seed: int, *names: str | int) -> Ids:
    """The numbers below `size` in the order that the names draw."""
    # A random word with the number in its low bits sorts without ties, and faster than argsort.
    low = np.uint64((1 << max(1, (size - 1).bit_length())) - 1)
    number_N = np.arange(size)
    keys_N = (words(seed, *names, at=number_N) & ~low) | number_N.astype(np.uint64)
    return (np.sort(keys_N) & low).astype(np.int64)


class Stream:
    """Windows for each update of a training.

    The update's number is all that a checkpoint needs of it.
    """

    def __init__(self, running: Running, context: int, seed: int, batch: int) -> None:
        self._running, self._context, self._batch = running, context, batch
        self._order = Order(count(running.tokens, context), context, seed)

    def at(self, step: int) -> npt.NDArray[np.int32]:
        """The windows of update number `step` (from 0), [B, S]."""
        window_B = self._order.at(np.arange(step * self._batch, (step + 1) * self._batch))
        return self._running.windows(window_B * self._context, self._context + 1)
