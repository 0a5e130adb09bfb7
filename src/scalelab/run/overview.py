"""A plan against what a store knows: results, predicted times, and which trials would leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scalelab.core.events import State
from scalelab.core.locations import is_missing
from scalelab.plan.cost import Clock
from scalelab.plan.diff import resumed_search, tally
from scalelab.plan.plan import Plan
from scalelab.run.leaving import Leaving, leaving
from scalelab.run.older import Older, older_results
from scalelab.store import Result, open_store


@dataclass(frozen=True)
class Overview:
    """A plan, or a part of one, with what a store knows of it."""

    plan: Plan
    results: Mapping[str, Result]
    """By digest, of every trial of the plan."""
    clock: Clock
    older: Sequence[Older]
    """Its missing trials that an older recipe has a result of."""
    leaving: Leaving
    """What a run of the whole plan takes out of the experiment."""

    @cached_property
    def states(self) -> dict[str, State]:
        """The state of every trial as the plan sees it, by digest."""
        return {digest: result.as_planned for digest, result in self.results.items()}

    def totals(self) -> dict[str, Any]:
        """How far the plan is, and what its search may still run."""
        search = resumed_search(self.plan, self.results)
        progress, left = search.progress, search.open
        cells = {"answered": progress.done, "total": progress.total}
        return {
            "search": self.plan.experiment.search.kind,
            "states": tally(self.plan, self.states),
            **({"cells": cells} if progress.unit == "cells" else {}),
            "tokens": sum(planned.tokens for planned in left),
            "flops": sum(planned.flops for planned in left),
            "flops_least": sum(planned.flops_least for planned in left),
            "seconds": sum(map(self.clock.seconds, left)),
            "basis": self.clock.basis,
        }

    def as_dict(self) -> dict[str, Any]:
        """It for `--json`."""
        return {
            "experiment": self.plan.experiment.name,
            **self.totals(),
            "older_recipes": [one.as_dict() for one in self.older],
            "left": self.leaving.trials,
            "replaces": self.leaving.other if self.leaving.is_refused else None,
            "trials": self._rows(),
        }

    def _rows(self) -> list[dict[str, Any]]:
        """The plan's trials in the form of every `--json` answer; seconds are predicted."""
        name = self.plan.experiment.name
        return [
            {
                "digest": planned.digest,
                "state": self.states[planned.digest],
                "experiment": name,
                "axes": planned.axes,
                "replicate": planned.replicate,
                "params": planned.params.as_dict(),
                "steps": planned.steps,
                "tokens": planned.tokens,
                "exposures": planned.exposures,
                "flops": planned.flops,
                "flops_least": planned.flops_least,
                "seconds": self.clock.seconds(planned),
                "metrics": {},
            }
            for planned in self.plan.trials
        ]


def overview(where: str, whole: Plan, chosen: Plan) -> Overview:
    """What the store at a place knows of the chosen part of a plan; if there is no store yet, all
    trials are missing.
    """
    if is_missing(where):
        missing = {planned.digest: Result("missing") for planned in chosen.trials}
        return Overview(chosen, missing, Clock([]), [], Leaving(whole.experiment.name))
    with open_store(where, mode="read") as store:
        results = store.results([planned.digest for planned in chosen.trials])
        older = older_results(store, chosen, results)
        return Overview(chosen, results, Clock(store.speeds()), older, leaving(store, whole))
