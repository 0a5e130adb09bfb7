"""The grid: every planned trial, in the order of the plan."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from scalelab.core.events import State
from scalelab.search.base import Progress, SearchSpec

if TYPE_CHECKING:
    from scalelab.plan.plan import PlannedTrial


class Grid(SearchSpec):
    """Every planned trial."""

    kind: Literal["grid"] = "grid"

    def start(self, trials: "Sequence[PlannedTrial]") -> "GridSearch":
        """See `GridSearch`."""
        return GridSearch(trials)


class GridSearch:
    """Asks for every trial that has no result yet."""

    def __init__(self, trials: "Sequence[PlannedTrial]") -> None:
        self._open = {planned.digest: planned for planned in trials}
        self._queue = deque(trials)
        self._trials = len(trials)
        self._flops = sum(planned.flops for planned in trials)

    def ask(self) -> "PlannedTrial | None":
        """The next trial of the plan that nothing is known of."""
        while self._queue:
            planned = self._queue.popleft()
            if planned.digest in self._open:
                return planned
        return None

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """Takes the trial off the list."""
        self._open.pop(digest, None)

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """Never: every trial goes to its own end."""
        return False

    @property
    def finished(self) -> bool:
        """Whether every trial has a result."""
        return not self._open

    @property
    def open(self) -> "list[PlannedTrial]":
        """What has no result."""
        return list(self._open.values())

    @property
    def progress(self) -> Progress:
        """Trials, weighed by their training FLOPs."""
        left = sum(planned.flops for planned in self._open.values())
        return Progress(
            self._trials - len(self._open),
            self._trials,
            "trials",
            1 - left / self._flops if self._flops else 1.0,
        )

    def share_of(self, planned: "PlannedTrial") -> float:
        """Its share of the FLOPs."""
        return planned.flops / self._flops if self._flops else 0.0
