"""Fig. 6: whether a fit can be trusted: residuals, draws, profiles, starts, the influence of each
run, and predictions held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.report.figure import Drawing, Panel, Rows, Table
from scalelab.report.figures.diagnostics.charts import (
    dropped_chart,
    holdout_chart,
    influence_chart,
    pairs_chart,
    profiles_chart,
    residuals_chart,
    spread_chart,
    starts_chart,
)
from scalelab.report.figures.diagnostics.data import (
    drop_marks,
    holdout_marks,
    move_marks,
    pairs,
    profile_marks,
    residual_marks,
    spread_marks,
    start_marks,
)
from scalelab.report.figures.diagnostics.diagnosis import Diagnosis
from scalelab.report.figures.diagnostics.text import (
    drops_table,
    holdout_table,
    influence_table,
    method,
    pairs_caption,
    profiles_table,
    reading,
    starts_table,
    verdict,
)
from scalelab.report.fits.data import any_law, fits, unfitted
from scalelab.report.fits.figure import FitFigure, Told, drawing_of
from scalelab.report.fits.text import anchor, law_line, methods, runs_table, target
from scalelab.report.numbers import rounded

Drawn = tuple[str, str, dict[str, Any], str, Table | None]
"""Name, title, chart, caption and table of a panel."""


@dataclass(frozen=True)
class Diagnostics(FitFigure):
    """Everything that a careful reader asks of a fit before believing it."""

    recipe: int = 2

    def lacks(self, rows: Rows) -> str:
        """Nothing, where the store keeps a fit of these rows, or their loss can be fitted over
        parameters and tokens.
        """
        return unfitted(rows, any_law, self.asked(rows))

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where a law can't be fitted."""
        found = [Diagnosis.of(rows, one) for one in fits(rows, any_law, self.asked(rows))]
        several = len(found) > 1
        told = [
            Told(
                one.fitted,
                verdict(one, several),
                _panels(one, several),
                [*methods(one.fitted, several), *method(one)],
                one.to_json(),
            )
            for one in found
        ]
        return drawing_of(self.title, told, reading())


def _panels(one: Diagnosis, several: bool) -> list[Panel]:
    experiment = one.fitted.experiment
    what = f": {experiment}" if several else ""
    return [
        Panel(anchor(name, experiment, several), title + what, chart, caption, table)
        for name, title, chart, caption, table in _drawn(one)
    ]


def _drawn(one: Diagnosis) -> Iterator[Drawn]:
    """The panels that these runs allow."""
    yield _residuals(one)
    yield _spread(one)
    if one.fitted.fit.draws is not None and pairs(one):
        yield _pairs(one)
    if one.fitted.fit.profiles:
        yield _profiles(one)
    if start_marks(one):
        yield _starts(one)
    if one.moves:
        yield _influence(one)
        yield _drops(one)
    if one.holdout is not None:
        yield _holdout(one)


def _residuals(one: Diagnosis) -> Drawn:
    marks, medians, against = residual_marks(one)
    far = 1.08 * max(abs(mark["residual"]) for mark in marks) or 1.0
    chart = residuals_chart(rounded({"runs": marks, "medians": medians}), against, (-far, far))
    said = (
        f"How far each run lies above the law ({law_line(one.fitted.fit)}), in per cent of it,"
        " against what it was run with. Black: medians of neighbours."
    )
    return (
        "residuals",
        "Residuals",
        chart,
        f"{said} A line that bends away from zero is something that the law misses.",
        runs_table(one.fitted),
    )


def _spread(one: Diagnosis) -> Drawn:
    caption = (
        "Left: the residuals with the normal curve of the same middle half. Right: their quantiles"
        " against those of a normal distribution; ends that leave the line are heavy tails, which"
        " Huber's loss takes for outliers."
    )
    return (
        "spread",
        "The spread of the residuals",
        spread_chart(rounded(spread_marks(one))),
        caption,
        None,
    )


def _pairs(one: Diagnosis) -> Drawn:
    data, shown, logarithmic = pairs(one)
    return (
        "pairs",
        "Bootstrap draws, two by two",
        pairs_chart(rounded(data), shown, logarithmic),
        pairs_caption(one, shown),
        None,
    )


def _profiles(one: Diagnosis) -> Drawn:
    data, logarithmic = profile_marks(one)
    caption = (
        "The least objective with one coefficient held, the others fitted again. One is where the"
        " 95 % interval ends (shaded); a line that never gets there is a coefficient that these"
        " runs do not tell."
    )
    chart = profiles_chart(rounded(data), list(one.fitted.fit.profiles), logarithmic)
    return "profiles", "Profiles of the objective", chart, caption, profiles_table(one)


def _starts(one: Diagnosis) -> Drawn:
    caption = (
        "Where every start ended, best first, above the best objective. Starts below the dashed"
        " line are at the best; marks at the foot lie no further above it than rounding."
    )
    chart = starts_chart(rounded({"starts": start_marks(one), "line": [{"above": 1e-6}]}))
    return "starts", "Objectives of all starts", chart, caption, starts_table(one)


def _influence(one: Diagnosis) -> Drawn:
    marks, order = move_marks(one)
    caption = (
        "What leaving one configuration out moves, in standard errors of the coefficient: the"
        f" {len(order)} that move most. A fit that hangs on one run shows it here."
    )
    return (
        "influence",
        "The influence of each run",
        influence_chart(rounded({"moves": marks}), one.shown, order),
        caption,
        influence_table(one),
    )


def _drops(one: Diagnosis) -> Drawn:
    caption = (
        f"The same for the runs of highest {target(one.fitted.fit)}, left out one after the other:"
        " a law that holds everywhere should not move far."
    )
    chart = dropped_chart(rounded({"drops": drop_marks(one)}), one.shown)
    return (
        "highest",
        f"Without the highest {target(one.fitted.fit)}",
        chart,
        caption,
        drops_table(one),
    )


def _holdout(one: Diagnosis) -> Drawn:
    marks = holdout_marks(one)
    values = [mark[name] for mark in marks for name in ("actual", "predicted")]
    room = (max(values) / min(values)) ** 0.03
    window = (min(values) / room, max(values) * room)
    data = {"runs": marks, "equal": [{"actual": end, "predicted": end} for end in window]}
    error = one.holdout.error if one.holdout is not None else np.nan
    caption = (
        "The law fitted to some runs only, and what it then says of the others"
        f" ({one.holdout_about}): {error:.2%} off on average. On the dashed line prediction and"
        " result are equal."
    )
    return (
        "held-out",
        "Predicted and actual",
        holdout_chart(rounded(data), window),
        caption,
        holdout_table(one),
    )
