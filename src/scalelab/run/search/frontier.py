"""The frontier: for each cell the smallest size that passes, found without running the whole grid.

A cell is one value of the `along` axis for one combination of the other axes and one replicate. The
cells of one combination and replicate are a chain: each begins its search at a guess from the
answers before it, doubles its steps (gallops) until one size passes and one fails, and bisects
between them. Chains know nothing of each other, so they run in parallel, and what a chain asks
depends on its own results alone: an interrupted search goes on as if it had not been.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from scalelab.core.events import FINISHED, State
from scalelab.plan.plan import PlannedTrial
from scalelab.run.search.base import Progress
from scalelab.spec.search import Frontier

Size = TypeVar("Size")
Cell = list[PlannedTrial]
"""The trials of one cell, from the smallest model to the largest."""


class FrontierSearch:
    """Asks for what decides where recall (or another metric) begins to pass, in every cell."""

    def __init__(self, spec: Frontier, trials: Sequence[PlannedTrial]) -> None:
        self._spec = spec
        self._chains = [_Chain(cells) for cells in chains(spec, trials)]
        self._chain_of = {
            planned.digest: chain
            for chain in self._chains
            for cell in chain.cells
            for planned in cell
        }

    def ask(self) -> PlannedTrial | None:
        """The trial that the chain with the most work before it waits for."""
        waiting = [chain for chain in self._chains if chain.wanted is not None and not chain.asked]
        if not waiting:
            return None
        chain = max(waiting, key=lambda one: one.flops_left)
        chain.asked = True
        return chain.wanted

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """Only a finished trial whose metric reaches the threshold passes: a failed or diverged one
        doesn't.
        """
        passed = (
            state in FINISHED
            and state != "diverged"
            and self._spec.is_met(metrics.get(self._spec.metric, float("nan")))
        )
        if digest in self._chain_of:
            self._chain_of[digest].tell(digest, passed)

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """Never: every trial goes to its own end."""
        return False

    @property
    def finished(self) -> bool:
        """Whether every cell has its answer."""
        return all(chain.wanted is None for chain in self._chains)

    @property
    def open(self) -> list[PlannedTrial]:
        """What has no result in the cells without an answer: more than will be asked for."""
        return [planned for chain in self._chains for planned in chain.open]

    @property
    def progress(self) -> Progress:
        """Cells answered; cells are weighed by the FLOPs of their mean trial."""
        answered = sum(len(chain.answers) for chain in self._chains)
        flops = sum(sum(chain.costs) for chain in self._chains)
        left = sum(chain.flops_left for chain in self._chains)
        return Progress(
            answered,
            sum(len(chain.cells) for chain in self._chains),
            "cells",
            1 - left / flops if flops else 1.0,
        )

    def answers(self) -> list[PlannedTrial | None]:
        """The smallest passing trial of every answered cell, None where no size passes; cells in
        the order of their chains.
        """
        found = [
            (cell, index)
            for chain in self._chains
            for cell, index in zip(chain.cells, chain.answers, strict=False)
        ]
        return [cell[index] if index < len(cell) else None for cell, index in found]


def chains(spec: Frontier, trials: Sequence[PlannedTrial]) -> list[list[Cell]]:
    """The cells of a plan: one list for each combination of the other axes and replicate, ascending
    along `along`.
    """
    others = (
        [path for path in trials[0].axes if path not in (spec.size, spec.along)] if trials else []
    )
    # An axis that goes in step with the size or with `along` (a zip) tells no chains apart.
    free = [
        path
        for path in others
        if not any(_follows(path, lead, trials) for lead in (spec.size, spec.along))
    ]
    found: dict[tuple[Any, ...], dict[Any, Cell]] = {}
    for planned in trials:
        key = (*(repr(planned.axes[path]) for path in free), planned.replicate)
        found.setdefault(key, {}).setdefault(planned.axes[spec.along], []).append(planned)
    return [
        [sorted(cells[value], key=lambda planned: planned.params.total) for value in sorted(cells)]
        for cells in found.values()
    ]


def _follows(path: str, lead: str, trials: Sequence[PlannedTrial]) -> bool:
    pairs = {(repr(planned.axes[lead]), repr(planned.axes[path])) for planned in trials}
    return len(pairs) == len({value for value, _ in pairs})


class _Chain:
    """One chain on its way: the trial it waits for, and the answers of the cells behind it."""

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = cells
        self.costs = [sum(planned.flops for planned in cell) / len(cell) for cell in cells]
        self.answers: list[int] = []
        """For each answered cell the index of the smallest passing size; the number of sizes where
        none passes.
        """
        self.wanted: PlannedTrial | None = None
        self.asked = False
        self._known: dict[str, bool] = {}
        self._walk = self._answer_all()
        self._advance(next(self._walk, None))

    @property
    def flops_left(self) -> float:
        """About what the cells without an answer cost."""
        return sum(self.costs[len(self.answers) :])

    @property
    def open(self) -> list[PlannedTrial]:
        return [
            planned
            for cell in self.cells[len(self.answers) :]
            for planned in cell
            if planned.digest not in self._known
        ]

    def tell(self, digest: str, passed: bool) -> None:
        self._known[digest] = passed
        self._advance(self.wanted)

    def _advance(self, wanted: PlannedTrial | None) -> None:
        """On to the first trial whose result is not known."""
        while wanted is not None and wanted.digest in self._known:
            try:
                wanted = self._walk.send(self._known[wanted.digest])
            except StopIteration:
                wanted = None
        if wanted is not self.wanted:
            self.wanted, self.asked = wanted, False

    def _answer_all(self) -> Generator[PlannedTrial, bool, None]:
        for cell in self.cells:
            self.answers.append((yield from smallest_passing(cell, guess(self.answers))))


def guess(answers: Sequence[int]) -> int:
    """Where a cell's search begins: at the answer before it, or where answers move away fast, as
    much further.

    The search tries the guess and then its neighbour, so that a move of one size up needs no
    foresight. The smaller of the last two moves is taken: one noisy answer then moves no guess.
    """
    if len(answers) < 3:
        return answers[-1] if answers else 0
    drift = min(answers[-1] - answers[-2], answers[-2] - answers[-3])
    return answers[-1] + (drift if drift > 1 else 0)


def smallest_passing(sizes: Sequence[Size], start: int) -> Generator[Size, bool, int]:
    """Yields sizes to try, is sent whether each passes, returns the index of the smallest passing
    one; `len(sizes)` if none.

    Begins at index `start`; no size is yielded twice. Where passing is monotone in size the answer
    is exact; else it is a size that passes while the one below it fails.
    """
    fails, passes, stride = -1, len(sizes), _strides()
    index = min(start, len(sizes) - 1)
    upwards = not (yield sizes[index])
    while (
        True
    ):  # gallop away from the guess, up from a failure or down from a pass, until the result turns
        fails, passes = (index, passes) if upwards else (fails, index)
        step = next(stride)
        index = min(index + step, len(sizes) - 1) if upwards else index - step
        if not fails < index < passes:
            break
        if (yield sizes[index]) == upwards:
            fails, passes = (fails, index) if upwards else (index, passes)
            break
    while passes - fails > 1:
        middle = (fails + passes) // 2
        if (yield sizes[middle]):
            passes = middle
        else:
            fails = middle
    return passes


def _strides() -> Generator[int, None, None]:
    """1, 1, 1, 2, 4, 8, ...: most answers lie within three sizes of the guess."""
    yield from (1, 1)
    step = 1
    while True:
        yield step
        step *= 2
