"""The cost of a fact: every law of both recall modes, fitted to one frontier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scalelab.core.errors import UserError
from scalelab.fit.cost_laws import (
    DRAWS,
    CostLaw,
    linear,
    logarithm,
    plateau,
    r2,
)
from scalelab.fit.frontier import Cell

PUBLISHED = {"slope": 8.138, "intercept": 5171.0}
"""In-weight line at 95 % recall with the origin as a point, refitted to the published runs of
Houliston et al. 2025 (arXiv 2508.20755).
"""

UNDECIDED = 2.0
"""Laws whose AICc differs by less are not told apart (Burnham and Anderson 2002)."""

IN_WEIGHT: dict[str, Callable[..., CostLaw]] = {
    "linear": linear,
    "linear_with_origin": partial(linear, origin=True),
    "linear_relative": partial(linear, noise="relative"),
}
"""Laws of the size that holds facts in its weights, by name; `linear_relative` has noise that grows
with the size.
"""

IN_TOOL: dict[str, Callable[..., CostLaw]] = {"plateau": plateau, "logarithm": logarithm}
"""Laws of the size that looks facts up, by name; on a tie the first one, which says more, counts as
the better.
"""


@dataclass(frozen=True)
class Cost:
    """The laws by name; a recall mode with too few cells has none, and `why` says so."""

    in_weight: dict[str, CostLaw]
    """See `IN_WEIGHT`."""
    published_recipe: dict[str, float] | None
    """The in-weight line as the published code draws it."""
    in_tool: dict[str, CostLaw]
    """See `IN_TOOL`."""
    crossing: tuple[int | None, int | None]
    """Last number of facts at which in-weight is no larger than in-tool, and the first from which
    it stays larger.
    """
    why: dict[str, str]
    """Recall mode -> why it has no law."""

    @classmethod
    def of(cls, cells: Sequence[Cell], draws: int = DRAWS) -> "Cost":
        """Fit every law to a frontier (`frontier.cells`), both recall modes together."""
        weight = [cell for cell in cells if cell.recall == "in_weight"]
        tool = [cell for cell in cells if cell.recall == "in_tool"]
        why: dict[str, str] = {}
        in_weight: dict[str, CostLaw] = {}
        in_tool: dict[str, CostLaw] = {}
        try:
            in_weight = {name: fit(weight, draws=draws) for name, fit in IN_WEIGHT.items()}
        except UserError as error:
            why["in_weight"] = error.what
        try:
            in_tool = {name: fit(tool, draws=draws) for name, fit in IN_TOOL.items()}
        except UserError as error:
            why["in_tool"] = error.what
        recipe = as_published(weight) if any(cell.passed for cell in weight) else None
        return cls(in_weight, recipe, in_tool, crossing(weight, tool), why)

    @property
    def better(self) -> str:
        """The in-tool law of lowest AICc."""
        return min(self.in_tool, key=lambda name: self.in_tool[name].aicc)

    @property
    def margin(self) -> float:
        """AICc of the second in-tool law less that of the best one."""
        best, second, *_ = sorted(law.aicc for law in self.in_tool.values())
        return second - best

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; a law that could not be fitted is null."""
        weight = {name: law.to_json() for name, law in self.in_weight.items()} or {"linear": None}
        tool = {name: law.to_json() for name, law in self.in_tool.items()} or dict.fromkeys(IN_TOOL)
        choice = (
            {"better": self.better, "aicc_margin": self.margin}
            if self.in_tool
            else {"better": None, "aicc_margin": None}
        )
        last, first = self.crossing
        return {
            "in_weight": {**weight, "published_recipe": self.published_recipe},
            "in_tool": {**tool, **choice},
            "crossing": {"in_weight_smaller_up_to": last, "in_tool_smaller_from": first},
            "published": dict(PUBLISHED),
            "why": self.why,
        }


def as_published(cells: Sequence[Cell]) -> dict[str, float]:
    """The published recipe to the letter: least squares over the means of the replicates that
    passed, and the origin.

    Replicates that pass at no size are dropped, so it runs low where there are some. Source: the
    paper's plotting code.
    """
    points = [(cell.facts, cell.point()["params_mean_passed"]) for cell in cells if cell.passed]
    facts_X, mean_X = np.array([(0.0, 0.0), *points], dtype=np.float64).T
    slope, intercept = np.polyfit(facts_X, mean_X, 1)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r2": r2(mean_X, slope * facts_X + intercept),
    }


def crossing(in_weight: Sequence[Cell], in_tool: Sequence[Cell]) -> tuple[int | None, int | None]:
    """Between which numbers of facts the in-weight curve comes to lie above the in-tool one, as
    measured.

    (last number at which it does not, first from which it stays above); None for an end that is not
    seen. Compared are means over replicates, a censored in-weight replicate at the largest size
    tried, which can only be too low; cells with a censored in-tool replicate decide nothing.
    """
    tool = {cell.facts: np.mean(cell.passed) for cell in in_tool if not cell.censored}
    above = [
        (cell.facts, np.mean([answer.size for answer in cell.answers]) > tool[cell.facts])
        for cell in in_weight
        if cell.facts in tool
    ]
    under = [facts for facts, is_above in above if not is_above]
    last = max(under, default=None)
    return last, min((facts for facts, _ in above if last is None or facts > last), default=None)
