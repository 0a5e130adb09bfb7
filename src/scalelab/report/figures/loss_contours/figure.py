"""Fig. 4: the loss over parameters and tokens, and the best split of compute between the two."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.fit.compute import FLOPS
from scalelab.fit.estimate import interval
from scalelab.report.figure import Drawing, Panel, Rows, Table
from scalelab.report.figures.loss_contours.charts import BEYOND
from scalelab.report.figures.loss_contours.surface import FURTHER, Surface, bought, contours
from scalelab.report.fits.data import fits, is_surface, unfitted
from scalelab.report.fits.figure import FitFigure, Told, drawing_of
from scalelab.report.fits.text import (
    anchor,
    band,
    compute,
    interval_words,
    law_line,
    methods,
    runs_table,
    shorts,
    target,
)
from scalelab.report.numbers import short, span


@dataclass(frozen=True)
class LossContours(FitFigure):
    """Contours of a fitted law over (N, D), with the runs, lines of equal compute and the
    compute-optimal frontier.
    """

    recipe: int = 2

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some experiment's loss can be fitted over parameters and tokens."""
        return unfitted(rows, is_surface, self.asked(rows))

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where a law can't be fitted."""
        found = [Surface.of(one) for one in fits(rows, is_surface, self.asked(rows))]
        several = len(found) > 1
        told = [
            Told(
                one.fitted,
                _verdict(one, several),
                _panels(one, several),
                methods(one.fitted, several),
                _json(one),
            )
            for one in found
        ]
        return drawing_of(self.title, told, _READING, [_SPLIT])


def _panels(one: Surface, several: bool) -> list[Panel]:
    name = one.fitted.experiment
    what, after = (f" of {name}", f": {name}") if several else ("", "")
    said = target(one.fitted.fit)
    lines = (
        f"Contour lines of the fitted {said}{what}: solid among the runs, dashed beyond them."
        " Points are the runs, in the colour of their own loss. Dotted lines are equal compute;"
        " the thick line is the best split of each, with its 95 % band."
    )
    frontier = (
        f"The {said} at the best split of each compute, with the 95 % intervals of the law (dark)"
        " and of one more run (light); points are the runs."
    )
    return [
        Panel(
            anchor("contours", name, several),
            f"Loss over parameters and tokens{after}",
            contours(one),
            lines,
            runs_table(one.fitted),
        ),
        Panel(
            anchor("compute", name, several),
            f"What compute buys{after}",
            bought(one),
            frontier,
            _split_table(one),
        ),
    ]


def _split_table(one: Surface) -> Table:
    """The best split at each compute, as drawn."""
    spans = [
        band(drawn_BX, np.full(one.flops_X.size, np.nan)).T
        for drawn_BX in (one.params_BX, one.loss_BX, one.run_BX)
    ]
    rows = []
    columns = zip(one.flops_X, one.params_X, one.tokens_X, one.loss_X, *spans, strict=True)
    for flops, params, tokens, loss, size, mean, run in columns:
        where = [compute(float(flops)), "" if flops <= one.largest * (1 + 1e-9) else BEYOND]
        best = [short(float(params)), shorts(size), short(float(tokens)), f"{tokens / params:.3g}"]
        rows.append(
            [*where, *best, f"{loss:.4f}", span(tuple(mean), ".4f"), span(tuple(run), ".4f")]
        )
    titles = ("FLOPs", "", "best N", "95 %", "best D", "D/N", "loss", "95 %, law", "95 %, one run")
    return Table("The best split of each compute", titles, rows, frozenset({0, 2, 4, 5, 6}))


def _verdict(one: Surface, several: bool) -> list[str]:
    """What the figure shows, in a few sentences."""
    fit, (slope, about) = one.fitted.fit, one.exponent()
    said = [f"{one.fitted.experiment}: {law_line(fit)}." if several else f"{law_line(fit)}."]
    vague = sorted({warned.code for warned in fit.warnings} & _VAGUE)
    if vague:
        return [
            *said,
            (
                f"These runs do not tell the whole law ({', '.join(vague)} below): the table has"
                " what follows from it, to be read with care."
            ),
        ]
    if not np.isfinite(slope):
        return [*said, "The law has no best split of compute between parameters and tokens."]
    about_b = None if about is None else (1 - about[1], 1 - about[0])
    grown = (
        f"N* grows as C^{slope:.3f}{interval_words(about, '.3f')}, D* as"
        f" C^{1 - slope:.3f}{interval_words(about_b, '.3f')}"
    )
    at = int(np.argmin(np.abs(np.log(one.flops_X / one.largest))))
    best = f"{short(float(one.params_X[at]))} parameters on {short(float(one.tokens_X[at]))} tokens"
    ratio = one.tokens_X[at] / one.params_X[at]
    ratio_B = one.flops_X[at] / (FLOPS * one.params_BX[:, at] ** 2)
    said.append(
        f"With compute, {grown}: at the largest run's {compute(one.largest)} FLOPs, {best},"
        f" {ratio:.3g} tokens per parameter{interval_words(interval(ratio_B), '.2g')}."
    )
    end, mean, run = one.loss_X[-1], interval(one.loss_BX[:, -1]), interval(one.run_BX[:, -1])
    said.append(
        f"At {FURTHER:g} times that compute the law says {end:.4f}{interval_words(mean, '.4f')};"
        f" one more run there would lie within {span(run, '.4f')}."
    )
    return said


_VAGUE = {"not_identified", "at_bound", "few_configurations"}
"""Warnings under which no number that follows from the law stands in a headline."""

_SPLIT = "Compute is C = 6 N D; the best split is the least of the fitted law along it."
_READING = [
    (
        "All axes are logarithmic, those of the loss too. A contour is where the fitted law has"
        " that loss; it is dashed where no run is near (outside the convex hull of the runs)."
    ),
    (
        "Along a dotted line compute is the same. Where it touches a contour lies its best split;"
        " these points make the thick line, the compute-optimal frontier. It is dashed beyond the"
        " largest run's compute."
    ),
    (
        "Bands hold 95 % of the bootstrap draws. They say how far these runs leave the law open,"
        " not whether it is the right law: fig. 6 is for that."
    ),
    (
        "Point at a run to see it; click it to find it among the runs below; `scalelab show DIGEST`"
        " tells all of one."
    ),
]


def _json(one: Surface) -> dict[str, Any]:
    slope, about = one.exponent()
    columns = {
        "flops": one.flops_X,
        "params": one.params_X,
        "tokens": one.tokens_X,
        "loss": one.loss_X,
    }
    frontier = {name: column.tolist() for name, column in columns.items()}
    whole = {
        "experiment": one.fitted.experiment,
        "fit": one.fitted.fit.to_json(),
        "exponent": slope,
        "exponent_ci95": about,
    }
    return {**whole, "frontier": frontier}
