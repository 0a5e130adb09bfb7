"""Searches by the spec that asks for them."""

from scalelab.plan.plan import Plan
from scalelab.run.search.base import Progress, Search
from scalelab.run.search.frontier import FrontierSearch
from scalelab.run.search.grid import GridSearch
from scalelab.spec.search import Frontier

__all__ = ["FrontierSearch", "GridSearch", "Progress", "Search", "build_search"]


def build_search(plan: Plan) -> Search:
    """The search that a plan's experiment asks for, over the plan's trials."""
    spec = plan.experiment.search
    return FrontierSearch(spec, plan.trials) if isinstance(spec, Frontier) else GridSearch(plan.trials)
