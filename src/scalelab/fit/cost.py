"""The cost of a fact: every law of both recall modes, fitted to one frontier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scalelab.core.errors import UserError
from scalelab.fit.capacity import (
    DRAWS,
    PUBLISHED,
    Law,
    as_published,
    crossing,
    linear,
    logarithm,
    plateau,
)
from scalelab.fit.frontier import Cell

UNDECIDED = 2.0
"""Laws whose AICc differs by less are not told apart (Burnham and Anderson 2002)."""


@dataclass(frozen=True)
class Cost:
    """The laws by name; a recall mode with too few cells has none, and `why` says so."""

    in_weight: dict[str, Law]
    """`linear`, `linear_with_origin`, and `linear_relative`, whose noise grows with the size."""
    published_recipe: dict[str, float] | None
    """The in-weight line as the published code draws it."""
    in_tool: dict[str, Law]
    """`plateau` and `logarithm`."""
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
        in_weight: dict[str, Law] = {}
        in_tool: dict[str, Law] = {}
        try:
            in_weight["linear"] = linear(weight, draws=draws)
            in_weight["linear_with_origin"] = linear(weight, origin=True, draws=draws)
            in_weight["linear_relative"] = linear(weight, noise="relative", draws=draws)
        except UserError as error:
            why["in_weight"] = error.what
        try:
            in_tool["plateau"] = plateau(tool, draws=draws)
            in_tool["logarithm"] = logarithm(tool, draws=draws)
        except UserError as error:
            why["in_tool"] = error.what
        recipe = as_published(weight) if any(cell.passed for cell in weight) else None
        return cls(in_weight, recipe, in_tool, crossing(weight, tool), why)

    @property
    def better(self) -> Literal["plateau", "logarithm"]:
        """The in-tool law of lower AICc; the plateau, which says more, on a tie."""
        return (
            "plateau"
            if self.in_tool["plateau"].aicc <= self.in_tool["logarithm"].aicc
            else "logarithm"
        )

    @property
    def margin(self) -> float:
        """AICc of the worse in-tool law less that of the better one."""
        return abs(self.in_tool["plateau"].aicc - self.in_tool["logarithm"].aicc)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; a law that could not be fitted is null."""
        weight = {name: law.to_json() for name, law in self.in_weight.items()} or {"linear": None}
        tool = {name: law.to_json() for name, law in self.in_tool.items()} or {
            "plateau": None,
            "logarithm": None,
        }
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
