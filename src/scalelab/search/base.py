"""What a search is: options that a spec names by `kind`, and a searcher that decides which of the
planned trials run next.

A search is one file in this folder and one entry in the union `Search` (`search/__init__.py`).
Everything that other packages may ask of it is in `SearchSpec` and `Searcher`.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from scalelab.core.events import State
from scalelab.core.spec import Spec
from scalelab.core.threshold import Threshold

if TYPE_CHECKING:
    from scalelab.plan.plan import PlannedTrial

Place = Callable[[str], str]
"""A field of the search -> where the spec sets it (`file:line`), for errors."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is."""

    done: int
    total: int
    unit: str
    """What is counted: `trials`, `cells`..."""
    share: float
    """Share of the expected work that is done, 0 to 1."""


class SearchSpec(Spec):
    """The options of a search. Subclasses have a field `kind` with their name."""

    time_bound: ClassVar[str] = "on one slot"
    """What the predicted time of a plan means: it is the sum over the trials that may still run."""

    @property
    def threshold(self) -> Threshold | None:
        """What a trial must reach to pass, if the search looks for trials that pass; trials must
        end with its metric.
        """
        return None

    def check_axes(self, paths: Collection[str], place: Place) -> None:
        """Raises UserError if the experiment lacks an axis that the search needs. `paths` are the
        spec paths of its axes.
        """

    def check_trials(self, trials: "Collection[PlannedTrial]", place: Place) -> None:
        """Raises UserError if the search can't work on these trials."""

    @abstractmethod
    def start(self, trials: "Sequence[PlannedTrial]") -> "Searcher":
        """A searcher over the trials of a plan, none of which has a result yet."""


class Searcher(Protocol):
    """Decides which of the planned trials run next.

    `tell` may be called at any time, also for trials that were never asked for, so that the results
    in a store cost nothing. For equal results a searcher asks for the same trials, in whatever
    order the results come back.
    """

    def ask(self) -> "PlannedTrial | None":
        """The next trial to run, each once; None if there is nothing to run now."""
        ...

    def tell(self, digest: str, state: State, metrics: Mapping[str, float]) -> None:
        """A trial's result. A failed trial is a result too: it is not asked for again."""
        ...

    def measured(self, digest: str, step: int, values: Mapping[str, float]) -> bool:
        """What a running trial measured; True asks to end the trial early.

        The same measurement may be told again, and the answer is the same.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether every result that is needed is there."""
        ...

    @property
    def open(self) -> "Sequence[PlannedTrial]":
        """The trials that may still be asked for; empty once the search is finished. Their number
        bounds what a run of the plan costs.
        """
        ...

    @property
    def progress(self) -> Progress:
        """How far the search is, by the trials that have ended."""
        ...

    def share_of(self, planned: "PlannedTrial") -> float:
        """The share of the expected work that one running trial is, from its start to its end."""
        ...


class SpaceSearcher(Searcher, Protocol):
    """A searcher whose trials are not known beforehand."""

    @property
    def own(self) -> Sequence[str]:
        """Digests of the trials that count: asked for in this run or in an earlier one, and trials
        of the space as it is now.
        """
        ...

    exhausted: bool
    """Whether nothing new was found to try."""
