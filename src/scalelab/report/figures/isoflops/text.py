"""What fig. 5 says: its verdict, its tables, and how its numbers came about."""

from collections.abc import Sequence

import numpy as np

from scalelab.fit.envelope import BIAS as ENVELOPE_BIAS
from scalelab.fit.envelope import BINS
from scalelab.fit.estimate import interval
from scalelab.fit.isoflop import BIAS as ISOFLOP_BIAS
from scalelab.fit.isoflop import RATIO, SIZES, SPAN
from scalelab.report.figure import Table
from scalelab.report.figures.isoflops.data import Approach, Approaches
from scalelab.report.fits.text import compute, interval_words, law_line, shorts
from scalelab.report.fits.text import methods as fit_methods
from scalelab.report.numbers import NONE, short, span

SHORT_NAMES = {
    "envelope": "training-curve envelope (1)",
    "isoflop": "isoFLOP parabolas (2)",
    "law": "fitted law (3)",
}
"""The approaches of Hoffmann et al. 2022, with their numbers there, in the order of the colours."""


def verdict(one: Approaches, several: bool) -> list[str]:
    """What the figure shows, in a few sentences."""
    before = f"{one.experiment}: " if several else ""
    if not one.approaches:
        return [
            f"{before}No way to the best size can be taken: fewer than two budgets determine a"
            " minimum."
        ]
    said = []
    for approach in one.approaches:
        slope, about = exponent(approach, one)
        (params_X, tokens_X), at = approach.at(np.array([one.largest])), compute(one.largest)
        best = (
            f"{short(float(params_X[0]))} parameters on {short(float(tokens_X[0]))} tokens at {at}"
            " FLOPs"
        )
        said.append(
            f"{before}{SHORT_NAMES[approach.kind]}: N* grows as"
            f" C^{slope:.3f}{interval_words(about, '.3f')}; {best}."
        )
    return said


def exponent(approach: Approach, one: Approaches) -> tuple[float, tuple[float, float] | None]:
    """The power of compute by which N* grows over the runs, with its interval."""
    flops_X = np.geomspace(one.flops_X(1.0, 9)[0], one.largest, 9)
    x_X = np.log(flops_X) - np.log(flops_X).mean()
    slope_S = (
        np.log(np.vstack([approach.at(flops_X)[0], approach.draws_at(flops_X)[0]]))
        @ x_X
        / (x_X @ x_X)
    )
    return float(slope_S[0]), interval(slope_S[1:])


def budgets_table(one: Approaches) -> Table:
    """Every profile in numbers."""
    rows = []
    for budget in one.isoflop.budgets:
        sizes_R = one.params_N[budget.rows_R]
        known = np.isfinite(budget.params.value)
        best = [
            short(budget.params.value),
            shorts(budget.params.ci95) if budget.params.ci95 else NONE,
            short(budget.tokens.value),
        ]
        numbers = (
            [*best, f"{budget.tokens.value / budget.params.value:.3g}", f"{budget.loss.value:.4f}"]
            if known
            else [NONE] * 5
        )
        where = (
            "yes"
            if budget.determined
            else (
                "no: too vague"
                if budget.interior
                else "no: not interior"
                if known
                else "no: opens downwards"
            )
        )
        rows.append(
            [
                compute(budget.flops),
                f"{len(sizes_R)}",
                shorts((sizes_R.min(), sizes_R.max())),
                *numbers,
                where,
            ]
        )
    columns = ("FLOPs", "runs", "sizes", "best N", "95 %", "best D", "D/N", "loss", "used")
    return Table("The profiles", columns, rows, frozenset({0, 1, 3, 5, 6, 7}))


def lines_table(one: Approaches, several: bool) -> Table:
    """The three ways in numbers, at the largest run's compute and ten times beyond."""
    rows = []
    for approach in one.approaches:
        slope, about = exponent(approach, one)
        for flops in (one.largest, 10 * one.largest):
            (params_X, tokens_X), (params_BX, tokens_BX) = (
                approach.at(np.array([flops])),
                approach.draws_at(np.array([flops])),
            )
            size, ratio = interval(params_BX[:, 0]), interval((tokens_BX / params_BX)[:, 0])
            where = [
                f"{slope:.3f}",
                span(about, ".3f"),
                compute(flops),
                short(float(params_X[0])),
                shorts(size) if size else NONE,
            ]
            rows.append(
                [
                    SHORT_NAMES[approach.kind],
                    *where,
                    short(float(tokens_X[0])),
                    f"{tokens_X[0] / params_X[0]:.3g}",
                    span(ratio, ".3g"),
                ]
            )
    columns = ("approach", "power of C", "95 %", "FLOPs", "best N", "95 %", "best D", "D/N", "95 %")
    return Table(
        f"Best sizes of {one.experiment}" if several else "Best sizes",
        columns,
        rows,
        frozenset({1, 3, 4, 6, 7}),
    )


def reading(found: Sequence[Approaches]) -> list[str]:
    """How to read the charts."""
    open_marks = (
        "An open diamond is a minimum beyond the sizes that were run, or known no better than to"
        " these: its budget is left out of N*(C) and D*(C)."
    )
    outside = any(
        not budget.determined and np.isfinite(budget.params.value)
        for one in found
        for budget in one.isoflop.budgets
    )
    small = (
        "Small marks are the runs on the envelope of the training curves, at some of its places."
    )
    return [
        (
            "Axes are logarithmic. A profile is the runs of one budget; where it is lowest lies the"
            " best size for that compute."
        ),
        *([open_marks] if outside else []),
        *(
            [small]
            if any(one.envelope is not None and one.envelope.digests for one in found)
            else []
        ),
        (
            "The three approaches rest on the same runs in different ways; where their bands part,"
            " at least one has a bias larger than its error."
        ),
        (
            "Point at a mark to see its trials; click it to find them among the runs below;"
            " `scalelab show DIGEST` tells all of one."
        ),
    ]


def methods(one: Approaches, several: bool) -> list[str]:
    """How each approach was taken, and what it is known to get wrong."""
    before = f"{one.experiment}: " if several else ""
    counted = (
        f"{one.isoflop.left_out} of {len(one.digests)} runs are in no profile"
        if one.isoflop.left_out
        else "every run is in a profile"
    )
    said = [
        (
            f"{before}FLOPs are the table's own, or 6 N D where it has none; their median over"
            f" these runs is {one.per:.3g} N D, by which the law is placed."
        ),
        (
            "Approach 2: runs are of one budget where no gap between their FLOPs exceeds a factor"
            f" {RATIO} and all lie within {SPAN}, cut at the widest gaps where they do not; a"
            f" profile has {SIZES} sizes at least; {counted}. A parabola in log N by least squares;"
            " powers of compute by least squares through the logarithms of the minima that the"
            " runs determine. Intervals: 1,000 bootstrap draws of the residuals, a budget's own or"
            " pooled over the budgets where it has few; those of the powers of compute also move"
            " each minimum by the scatter of the minima about the line beyond their own errors"
            f" ({one.isoflop.scatter:.2g} in log N here), widened as Student's t is."
        ),
        ISOFLOP_BIAS,
    ]
    if one.envelope is not None and one.envelope.params is not None:
        said += [
            (
                f"Approach 1: the run of least loss in each of {BINS:,} log-spaced bins of FLOPs"
                " that two sizes reach. Intervals: a bootstrap over runs."
            ),
            ENVELOPE_BIAS,
        ]
    else:
        said.append(
            "Approach 1 needs training curves of several sizes that cross; there are none here."
        )
    if one.fitted is not None:
        said += [
            (
                f"Approach 3: {law_line(one.fitted.fit)}, its least along C. It is biased as far as"
                " the law is the wrong one (fig. 6)."
            ),
            *fit_methods(one.fitted, False),
        ]
    return said
