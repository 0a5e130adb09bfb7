"""The frontier: for each cell the smallest size that passes, found without running the whole grid.

A cell is one value of the `along` axis for one combination of the other axes and one replicate. The
cells of one combination and replicate are a chain: each begins its search at a guess from the
answers before it, doubles its steps (gallops) until one size passes and one fails, and bisects
between them. Chains run in parallel, and what a chain asks depends on its own results alone.

Passing need not be monotone in size, and then a search may settle above the smallest size that
passes. So once a cell has an answer in every replicate, each replicate takes a second look below
its own, at the sizes where enough of the others passed. What is asked depends on results alone, not
on the order in which they come: an interrupted search goes on as if it had not been.
"""

from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED, State
from scalelab.core.threshold import Threshold
from scalelab.search.base import Place, Progress, SearchSpec
from scalelab.search.galloping import guess, smaller_passing, smallest_passing

if TYPE_CHECKING:
    from scalelab.plan.plan import PlannedTrial

Cell: TypeAlias = "list[PlannedTrial]"
"""The trials of one cell, from the smallest model to the largest."""
Chain: TypeAlias = "list[Cell]"
"""The cells of one combination and replicate, ascending along `along`."""

SHARE = 0.2
"""A size below an answer is tried if this share of the cell's replicates pass there."""


TRIAL = 1 / 3
"""The share that one more trial has of what is left of a cell, about: most take four."""


class Frontier(Threshold, SearchSpec):
    """For each cell the smallest size that passes, by galloping from the last cell's answer and
    bisecting, then by a second look at smaller sizes where other replicates passed.
    """

    time_bound: ClassVar[str] = "at most: a frontier search runs a small part, the small models"

    kind: Literal["frontier"] = "frontier"
    size: str = "model.width"
    """The axis that is searched; its values are ordered by the parameters they make."""
    along: str = "task.people"
    """The axis along which an answer is the next one's first guess."""
    metric: str = "recall"
    """The final metric that decides, of those that a trial ends with: `recall`, `recall_unseen`,
    `recall_permuted` (in-tool), `bits`, `bits_per_fact`...; for text `test_loss`...
    """

    @property
    def threshold(self) -> Threshold:
        """Its own metric and limit."""
        return self

    def check_axes(self, paths: Collection[str], place: Place) -> None:
        """Both `size` and `along` are axes."""
        for name, path in (("size", self.size), ("along", self.along)):
            if path not in paths:
                raise UserError(
                    f"the frontier's `{name}` is `{path}`, which is no axis",
                    cure=f"add `{path}` to `axes`",
                    where=place(name),
                )

    def check_trials(self, trials: "Collection[PlannedTrial]", place: Place) -> None:
        """Values of `along` are numbers: cells are in their order."""
        for planned in trials:
            value = planned.axes[self.along]
            if not isinstance(value, int | float):
                raise UserError(
                    f"the frontier's `along` is `{self.along}`, whose value {value!r} is no number",
                    cure="name an axis of numbers, such as task.people",
                    where=place("along"),
                )

    def start(self, trials: "Sequence[PlannedTrial]") -> "FrontierSearch":
        """See `FrontierSearch`."""
        return FrontierSearch(self, trials)


class FrontierSearch:
    """Asks for what decides where recall (or another metric) begins to pass, in every cell."""

    def __init__(self, spec: Frontier, trials: "Sequence[PlannedTrial]") -> None:
        self._spec = spec
        self._passed: dict[str, bool] = {}
        self._combinations = [
            _Combination(spec, replicates, self._passed)
            for replicates in combinations(spec, trials)
        ]
        self._combination_of = {
            planned.digest: combination
            for combination in self._combinations
            for cell in combination.cells
            for planned in cell.trials
        }
        self._cell_of = {planned.digest: cell for cell in self._cells for planned in cell.trials}
        self._flops = sum(cell.flops for cell in self._cells)

    def ask(self) -> "PlannedTrial | None":
        """A trial that the search with the most work behind it waits for."""
        waiting = [
            walk
            for combination in self._combinations
            for walk in combination.walks
            if walk.wanted is not None and not walk.asked
        ]
        if not waiting:
            return None
        walk = max(waiting, key=lambda one: one.flops_left)
        walk.asked = True
        return walk.wanted

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """Only a finished trial whose metric reaches the threshold passes: a failed or diverged one
        doesn't.
        """
        if digest in self._combination_of:
            self._passed[digest] = (
                state in FINISHED
                and state != "diverged"
                and self._spec.is_met(metrics.get(self._spec.metric, float("nan")))
            )
            self._combination_of[digest].advance()

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """Never: every trial goes to its own end."""
        return False

    @property
    def finished(self) -> bool:
        """Whether every cell has its answer."""
        return all(cell.answer is not None for cell in self._cells)

    @property
    def open(self) -> "list[PlannedTrial]":
        """What has no result and may decide a cell without an answer: more than will be asked
        for.
        """
        return [
            planned
            for cell in self._cells
            for planned in cell.candidates
            if planned.digest not in self._passed
        ]

    @property
    def progress(self) -> Progress:
        """Cells answered; cells are weighed by the FLOPs of their mean trial, and count in part
        before their answer.
        """
        cells = self._cells
        left = sum(cell.flops * cell.left for cell in cells)
        answered = sum(cell.answer is not None for cell in cells)
        return Progress(answered, len(cells), "cells", 1 - left / self._flops if left else 1.0)

    def share_of(self, planned: "PlannedTrial") -> float:
        """What the cell moves on by where this trial does not answer it."""
        cell = self._cell_of[planned.digest]
        return TRIAL * cell.left * cell.flops / self._flops if self._flops else 0.0

    def answers(self) -> "list[PlannedTrial | None]":
        """The smallest passing trial of every answered cell, None where no size passes; cells in
        the order of their chains.
        """
        return [
            cell.trials[cell.answer] if cell.answer < len(cell.trials) else None
            for cell in self._cells
            if cell.answer is not None
        ]

    @property
    def _cells(self) -> "list[_CellSearch]":
        return [cell for combination in self._combinations for cell in combination.cells]


def combinations(spec: Frontier, trials: "Sequence[PlannedTrial]") -> list[list[Chain]]:
    """The cells of a plan: for each combination of the other axes the chains of its replicates."""
    others = (
        [path for path in trials[0].axes if path not in (spec.size, spec.along)] if trials else []
    )
    # An axis that goes in step with the size or with `along` (a zip) tells no chains apart.
    free = [
        path
        for path in others
        if not any(_follows(path, lead, trials) for lead in (spec.size, spec.along))
    ]
    found: dict[tuple[str, ...], dict[int, dict[Any, Cell]]] = {}
    for planned in trials:
        replicates = found.setdefault(tuple(repr(planned.axes[path]) for path in free), {})
        cells = replicates.setdefault(planned.replicate, {})
        cells.setdefault(planned.axes[spec.along], []).append(planned)
    return [
        [
            [sorted(cells[value], key=_size) for value in sorted(cells)]
            for cells in replicates.values()
        ]
        for replicates in found.values()
    ]


def _size(planned: "PlannedTrial") -> int:
    return planned.params.total


def _follows(path: str, lead: str, trials: "Sequence[PlannedTrial]") -> bool:
    pairs = {(repr(planned.axes[lead]), repr(planned.axes[path])) for planned in trials}
    return len(pairs) == len({value for value, _ in pairs})


class _Walk:
    """A search among the sizes of a cell, on its way: the trial that it waits for."""

    def __init__(
        self,
        steps: Generator[int, bool, int],
        trials: Cell,
        passed: Mapping[str, bool],
        flops_left: float,
    ) -> None:
        """`passed` has the results by digest; `flops_left` is about what waits for this search."""
        self.answer: int | None = None
        """In the end: the index of the smallest passing size; the number of sizes where none
        passes.
        """
        self.tried: dict[int, bool] = {}
        """Index of each size that the search has seen -> whether it passes."""
        self.flops_left = flops_left
        self.asked = False
        self._steps, self._trials, self._passed = steps, trials, passed
        self._index = -1
        self._step(None)
        self.advance()

    @property
    def wanted(self) -> "PlannedTrial | None":
        return self._trials[self._index] if self.answer is None else None

    def advance(self) -> None:
        """On to the first trial whose result is not known."""
        while (wanted := self.wanted) is not None and wanted.digest in self._passed:
            self.tried[self._index] = self._passed[wanted.digest]
            self._step(self.tried[self._index])

    def _step(self, passed: bool | None) -> None:
        self.asked = False
        try:
            self._index = next(self._steps) if passed is None else self._steps.send(passed)
        except StopIteration as end:
            self.answer = end.value


class _CellSearch:
    """One cell: its first search, and the second look that decides."""

    def __init__(self, trials: Cell) -> None:
        self.trials = trials
        self.flops = sum(planned.flops for planned in trials) / len(trials)
        self.first: _Walk | None = None
        self.second: _Walk | None = None

    @property
    def first_answer(self) -> int | None:
        return None if self.first is None else self.first.answer

    @property
    def answer(self) -> int | None:
        return None if self.second is None else self.second.answer

    @property
    def left(self) -> float:
        """Which share of the cell's work is left."""
        if self.answer is not None:
            return 0.0
        tried = sum(len(walk.tried) for walk in (self.first, self.second) if walk is not None)
        return (1 - TRIAL) ** tried

    @property
    def candidates(self) -> Cell:
        """What may yet decide: below the first answer, where there is one."""
        return [] if self.answer is not None else self.trials[: self.first_answer]


class _Combination:
    """The chains of one combination, a replicate each, and the second looks across them."""

    def __init__(self, spec: Frontier, chains: list[Chain], passed: Mapping[str, bool]) -> None:
        self._chains = [[_CellSearch(cell) for cell in chain] for chain in chains]
        self._passed = passed
        self.cells = [cell for chain in self._chains for cell in chain]
        peers: dict[Any, list[_CellSearch]] = {}
        for cell in self.cells:
            peers.setdefault(cell.trials[0].axes[spec.along], []).append(cell)
        self._peers = list(peers.values())
        """The cells of each value along `along`: one for each replicate."""
        self.advance()

    @property
    def walks(self) -> list[_Walk]:
        return [walk for cell in self.cells for walk in (cell.first, cell.second) if walk]

    def advance(self) -> None:
        """Every search goes on to the first trial whose result is not known."""
        for chain in self._chains:
            answers: list[int] = []
            for place, cell in enumerate(chain):
                if cell.first is None:
                    steps = smallest_passing(range(len(cell.trials)), guess(answers))
                    left = sum(other.flops for other in chain[place:])
                    cell.first = _Walk(steps, cell.trials, self._passed, left)
                cell.first.advance()
                if cell.first.answer is None:
                    break
                answers.append(cell.first.answer)
        for peers in self._peers:
            if peers[0].second is None and all(cell.first_answer is not None for cell in peers):
                self._look_again(peers)
            for cell in peers:
                if cell.second is not None:
                    cell.second.advance()

    def _look_again(self, peers: list[_CellSearch]) -> None:
        # Counted is what the first searches saw, not all that is known: other results may come at
        # any time, and must not change what is asked.
        passing = Counter(
            _size(cell.trials[index])
            for cell in peers
            if cell.first is not None
            for index, passes in cell.first.tried.items()
            if passes
        )
        for cell in peers:
            assert cell.first is not None and cell.first.answer is not None
            likely = [
                index
                for index, planned in enumerate(cell.trials)
                if passing[_size(planned)] >= max(1, SHARE * len(peers))
            ]
            sizes = range(len(cell.trials))
            steps = smaller_passing(sizes, cell.first.answer, cell.first.tried, likely)
            cell.second = _Walk(steps, cell.trials, self._passed, cell.flops)
