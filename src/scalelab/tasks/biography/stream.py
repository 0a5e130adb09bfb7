"""The endless text of training, cut into windows: a pure function of the seed and the update's
number.

B windows of a batch, T tokens of a window, M tokens in all.
"""

from bisect import bisect_right
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from scalelab.core.seeds import derive
from scalelab.data.tokens import Tokens
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.people import Ids, shuffled
from scalelab.tasks.biography.sizes import is_marked, written_by
from scalelab.tasks.biography.spec import Biography, BioSSimple

_BLOCK = 1 << 18
"""Tokens, about, that are written at once."""


class Text:
    """Passes over some people, one after the other, each in an order of its own: exposure k belongs
    to pass k // people.

    Blocks of exposures are written as they are asked for. Where a block begins is known from the
    lengths of those before it, which are counted without writing them.
    """

    def __init__(self, task: Biography, seed: int, *, junk: bool) -> None:
        assert not junk or task.junk is not None
        self._writer, self._marked = written_by(task), is_marked(task) and not junk
        self._people = task.junk.people if junk and task.junk is not None else task.people
        self._junk, self._fixed = junk, isinstance(task.text, BioSSimple)
        self._seed = derive(seed, "biography", "junk" if junk else "useful")
        self._exposures = max(1, _BLOCK // self._writer.longest(self._marked))
        self._begins = [0]
        self._written: dict[int, Tokens] = {}

    def tokens(self, start: int, stop: int) -> Tokens:
        """The tokens from `start` to `stop` of the text, [M]."""
        while self._begins[-1] <= start:
            lengths = self._writer.lengths(*self._draws(len(self._begins) - 1), self._marked)
            self._begins.append(self._begins[-1] + int(lengths.sum()))
        block, pieces = bisect_right(self._begins, start) - 1, []
        while self._begins[block] < stop:
            tokens, begin = self._write(block), self._begins[block]
            pieces.append(tokens[max(0, start - begin) : stop - begin])
            block += 1
        return np.concatenate(pieces)

    def people(self, exposure_E: Ids) -> Ids:
        """Who is shown at each exposure."""
        turn_E, place_E = np.divmod(exposure_E, self._people)
        person_E = shuffled(place_E, self._people, self._seed, "order", turn_E=turn_E)
        return pools.NAMES - 1 - person_E if self._junk else person_E

    def _draws(self, block: int) -> tuple[Ids, npt.NDArray[np.uint64]]:
        exposure_E = np.arange(block * self._exposures, (block + 1) * self._exposures)
        person_E = self.people(exposure_E)
        return person_E, self._writer.once(person_E) if self._fixed else self._writer.anew(
            exposure_E, self._seed
        )

    def _write(self, block: int) -> Tokens:
        """A block's tokens. Only the blocks at hand are kept."""
        if block not in self._written:
            self._written = {
                kept: tokens for kept, tokens in self._written.items() if kept == block - 1
            }
            self._written[block] = self._writer.tokens(*self._draws(block), self._marked)
            if block == len(self._begins) - 1:
                self._begins.append(self._begins[-1] + len(self._written[block]))
        return self._written[block]


class Stream:
    """Windows of T tokens for each update.

    A window begins with the last one's last token, so that each token is predicted once.
    """

    def __init__(self, task: Biography, seed: int, batch: int) -> None:
        self._batch, self._positions = batch, task.context - 1
        self._useful = Text(task, seed, junk=False)
        self._junk = Text(task, seed, junk=True) if task.junk else None
        self._share = (
            Fraction(task.junk.useful).limit_denominator(1_000_000) if task.junk else Fraction(1)
        )

    def at(self, step: int) -> Tokens:
        """The windows of update number `step` (from 0), [B, T]."""
        window_B = np.arange(step * self._batch, (step + 1) * self._batch)
        useful_B = self.is_useful(window_B)
        before, count = int(self._before(window_B[:1])[0]), int(useful_B.sum())
        windows_BT = np.empty((self._batch, self._positions + 1), np.uint16)
        windows_BT[useful_B] = self._windows(self._useful, before, count)
        if self._junk is not None:
            windows_BT[~useful_B] = self._windows(
                self._junk, int(window_B[0]) - before, self._batch - count
            )
        return windows_BT

    def is_useful(self, window_B: Ids) -> npt.NDArray[np.bool_]:
        """Whether windows, counted from the start of training, are about the people of the task:
        evenly spread.
        """
        return self._before(window_B + 1) > self._before(window_B)

    def _before(self, window_B: Ids) -> Ids:
        """How many useful windows there are before each."""
        return window_B * self._share.numerator // self._share.denominator

    def _windows(self, text: Text, first: int, count: int) -> Tokens:
        if not count:
            return np.empty((0, self._positions + 1), np.uint16)
        tokens = text.tokens(first * self._positions, (first + count) * self._positions + 1)
        return np.lib.stride_tricks.sliding_window_view(tokens, self._positions + 1)[
            :: self._positions
        ].copy()
