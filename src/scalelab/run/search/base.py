"""What a search is: it asks for trials and is told what became of them.

Pure Python, no executor in sight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scalelab.core.events import State
from scalelab.plan.plan import PlannedTrial


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is, in its own unit, and which share of the expected work (0 to
    1) that is.
    """

    done: int
    total: int
    unit: str
    share: float


class Search(Protocol):
    """Decides which of the planned trials are run.

    `tell` is welcome at any time, for trials that were never asked for too: what a store knows
    costs nothing. For equal results a search asks for the same trials, whatever the order in which
    they come back.
    """

    def ask(self) -> PlannedTrial | None:
        """The next trial to run, each once; None where there is nothing to run now."""
        ...

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """A trial's result. A failed trial is a result here: it will not be asked for again."""
        ...

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """What a running trial measured; True asks that it be ended early.

        It may be told again, and is answered as before.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether every result that is needed is there."""
        ...

    @property
    def open(self) -> Sequence[PlannedTrial]:
        """What may yet be asked for; empty where the search is finished."""
        ...

    @property
    def progress(self) -> Progress:
        """How far the search is, by the trials that have ended."""
        ...

    def share_of(self, planned: PlannedTrial) -> float:
        """Which share of the expected work a trial that runs is, from its beginning to its end."""
        ...


class SpaceSearch(Search, Protocol):
    """A search whose trials are not known beforehand."""

    @property
    def own(self) -> Sequence[str]:
        """Digests of the trials that count: asked for in this run or in an earlier one, and trials
        of the space as it is now.
        """
        ...

    exhausted: bool
    """Whether nothing new was found to try."""
