"""A search as it goes on from what a store knows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scalelab.core.events import FINISHED, is_pruned
from scalelab.optimize.guided import GuidedSearch
from scalelab.plan.plan import PlannedTrial
from scalelab.run.driver import Options, drive_search
from scalelab.run.leaving import Leaving
from scalelab.run.summary import Summary
from scalelab.spec.experiment import Experiment
from scalelab.spec.load import Document
from scalelab.spec.load_space import experiment_of
from scalelab.spec.space import Space
from scalelab.store.history import TrialHistory, search_history
from scalelab.store.reader import Reader
from scalelab.store.records import StoredTrial
from scalelab.store.store import Store
from scalelab.tasks import describe

DRAWN = 10
"""Trials that tell what those of a space are like."""


@dataclass(frozen=True)
class OpenedSearch:
    """A search over a space, and the history that it knows."""

    space: Space
    document: Document
    search: GuidedSearch
    history: TrialHistory

    @property
    def states(self) -> dict[str, int]:
        """How many trials that count ended as what, the pruned ones apart."""
        own = set(self.search.own)
        results = [one.result for one in self.history.own if one.digest in own]
        return dict(
            Counter("pruned" if is_pruned(one.state, one.metrics) else one.state for one in results)
        )

    @property
    def strangers(self) -> list[StoredTrial]:
        """Members of the experiment that do not count: asked for as another space, on another base
        or under an older recipe.
        """
        own = set(self.search.own)
        return [one for one in self.history.own if one.digest not in own]

    @cached_property
    def drawn(self) -> Sequence[PlannedTrial]:
        """Some trials of the space that chance drew."""
        return list(self.search.by_chance(DRAWN))

    def leaving(self, store: Reader) -> Leaving:
        """What a run of the search takes out of its experiment."""
        spec = self.space.model_dump(mode="json")
        other = store.other_source(self.space.name, self.document.path, spec)
        leaving = len(self._leaving)
        return Leaving(self.space.name, leaving, leaving, other)

    def run(self, store: Store, options: Options) -> Summary:
        """Run what the search asks for. Raises UserError as `drive_search` does."""
        return drive_search(
            self.search,
            store,
            options,
            experiment=self.space.name,
            spec=self.space.model_dump(mode="json"),
            execution=self.search.experiment.execution,
            leaving=self._leaving,
            file=self.document.path,
        )

    @property
    def _leaving(self) -> list[str]:
        return [one.digest for one in self.strangers if one.state in FINISHED]


def open_search(
    store: Reader | None,
    space: Space,
    document: Document,
    *,
    warm: bool = True,
    retry_failed: bool = False,
) -> OpenedSearch:
    """The search over a space as it goes on from a store, or as it begins without one.

    With `warm` it learns from trials of other experiments too. Raises UserError if no point of the
    space is a trial.
    """
    history = TrialHistory()
    if store is not None:
        history = search_history(store, space, document, warm=warm, retry_failed=retry_failed)
    return OpenedSearch(
        space, document, GuidedSearch(space, document, history, trials=space.trials), history
    )


def base_of(space: Space, document: Document) -> Experiment:
    """The base of a space as an experiment. Raises Unreadable if its corpus is not there."""
    experiment, _ = experiment_of(space, document)
    describe(experiment.task, experiment.execution.data)
    return experiment
