"""Searches by the spec that asks for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scalelab.core.events import FINISHED
from scalelab.plan.plan import Plan
from scalelab.run.search.base import Progress, Search, SpaceSearch
from scalelab.run.search.frontier import FrontierSearch
from scalelab.run.search.grid import GridSearch
from scalelab.spec.search import Frontier

__all__ = [
    "FrontierSearch",
    "GridSearch",
    "Progress",
    "Search",
    "SpaceSearch",
    "build_search",
    "tell_known",
]

if TYPE_CHECKING:
    from scalelab.store.records import Result


def build_search(plan: Plan) -> Search:
    """The search that a plan's experiment asks for, over the plan's trials."""
    spec = plan.experiment.search
    return (
        FrontierSearch(spec, plan.trials) if isinstance(spec, Frontier) else GridSearch(plan.trials)
    )


def tell_known(
    search: Search, plan: Plan, results: "Mapping[str, Result]", *, retry_failed: bool = False
) -> int:
    """Tell a search what a store knows of a plan's trials; returns how many results that were,
    failures not counted.

    A trial that another search ended early has no result for a plan.
    """
    told = FINISHED if retry_failed else FINISHED | {"failed"}
    for planned in plan.trials:
        result = results[planned.digest]
        if result.as_planned in told:
            search.tell(planned.digest, result.state, result.metrics)
    return sum(results[planned.digest].as_planned in FINISHED for planned in plan.trials)
