"""What figs. 4 to 6 have in common: they draw laws, one for each experiment, or for each of its
arms, of one metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from scalelab.core.metrics import column_of, metric_of
from scalelab.fit.warned import Warned
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.fits.data import Fitted
from scalelab.report.fits.text import coefficients_table, derived_table, warnings
from scalelab.report.numbers import rounded
from scalelab.report.runs import check_metric


@dataclass(frozen=True)
class FitFigure(Figure):
    """A figure of fits that the store keeps, or that are made for it."""

    needs_fits: bool = True
    metric: str = ""
    """What the laws predict; where it is empty, what the kept fit does, else the test loss or the
    loss.
    """

    @property
    def cure(self) -> str:
        """What makes its data: no spec of its own."""
        return "run several sizes at several lengths, or `scalelab import` a table of such runs"

    @property
    def options(self) -> Mapping[str, str]:
        """The metric."""
        return {"metric": self.metric}

    def chosen(self, options: Mapping[str, str]) -> Self:
        """With another metric."""
        super().chosen({name: value for name, value in options.items() if name != "metric"})
        return replace(self, metric=metric_of(options.get("metric", self.metric)))

    def asked(self, rows: Rows) -> str | None:
        """The column that is asked for. Raises UserError where no trial has it."""
        if self.metric:
            check_metric(rows.trials, self.metric)
        return column_of(self.metric) if self.metric else None


@dataclass(frozen=True)
class Told:
    """What a figure shows and says of one fit."""

    fitted: Fitted
    verdict: Sequence[str]
    panels: Sequence[Panel]
    methods: Sequence[str]
    data: Mapping[str, Any]


def drawing_of(
    title: str, found: Sequence[Told], reading: Sequence[str], methods: Sequence[str] = ()
) -> Drawing:
    """One page for all fits: the tables of their coefficients, and the warnings of each."""
    several = len(found) > 1
    warned: list[Warned] = [warning for one in found for warning in warnings(one.fitted, several)]
    return Drawing(
        title=title,
        verdict=[sentence for one in found for sentence in one.verdict],
        panels=[panel for one in found for panel in one.panels],
        metric=found[0].fitted.fit.law.target,
        tables=[
            table
            for one in found
            for table in (
                coefficients_table(one.fitted, several),
                derived_table(one.fitted, several),
            )
        ],
        reading=reading,
        methods=[*(sentence for one in found for sentence in one.methods), *methods],
        data={"fits": [rounded(dict(one.data)) for one in found]},
        warnings=warned,
    )
