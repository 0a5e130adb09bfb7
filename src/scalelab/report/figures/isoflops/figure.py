"""Fig. 5: which size is best at each budget: isoFLOP profiles, and three ways to N*(C)
and D*(C).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.fit.censored import Floats
from scalelab.fit.isoflop import Budget
from scalelab.fit.warned import Warned
from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    SIZE_LABEL,
    log_domain,
)
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Drawing, Panel, Rows
from scalelab.report.figures.isoflops.charts import (
    BEYOND,
    WITHIN,
    Span,
    optimum_chart,
    profiles_chart,
)
from scalelab.report.figures.isoflops.data import CURVES, Approach, Approaches, can_draw, undrawn
from scalelab.report.figures.isoflops.text import (
    SHORT_NAMES,
    budgets_table,
    lines_table,
    methods,
    reading,
    verdict,
)
from scalelab.report.fits.data import first_reason, names
from scalelab.report.fits.figure import FitFigure
from scalelab.report.fits.text import anchor, band, compute, warnings
from scalelab.report.numbers import NONE, rounded, short, span

FURTHER = 10.0
"""Lines are drawn up to the largest budget times this."""
_PLACES = 30

Row = dict[str, Any]
_TWENTY = 20.0
"""Tokens per parameter, Hoffmann et al. 2022's rule of thumb."""


@dataclass(frozen=True)
class IsoFlops(FitFigure):
    """Profiles with their minima, N*(C), D*(C) and D/N by up to three approaches."""

    needs_curves: bool = True
    recipe: int = 3

    def curves_of(self, names: Sequence[str]) -> list[str]:
        """Losses along the training."""
        return [name for name in names if name in CURVES]

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some experiment has an isoFLOP profile, or training curves of several
        sizes.
        """
        reasons = [undrawn(rows, name, self.asked(rows)) for name in names(rows)]
        return first_reason(reasons)

    def draw(self, rows: Rows) -> Drawing:
        """The drawing. Raises UserError where a law can't be fitted."""
        found = [
            Approaches.of(rows, name, self.asked(rows))
            for name in names(rows)
            if can_draw(rows, name, self.asked(rows))
        ]
        several = len(found) > 1
        return Drawing(
            title=self.title,
            verdict=[sentence for one in found for sentence in verdict(one, several)],
            panels=[panel for one in found for panel in _panels(one, several)],
            metric=found[0].target,
            tables=[lines_table(one, several) for one in found],
            reading=reading(found),
            methods=[sentence for one in found for sentence in methods(one, several)],
            data={"budgets": [rounded(one.to_json()) for one in found]},
            warnings=[warned for one in found for warned in _warnings(one, several)],
        )


def _warnings(one: Approaches, several: bool) -> list[Warned]:
    """Of every way."""
    before = f"{one.experiment}: " if several else ""
    own = [*one.isoflop.warnings, *(one.envelope.warnings if one.envelope else ())]
    law = warnings(one.fitted, several) if one.fitted else []
    return [*(Warned(warned.code, before + warned.text) for warned in own), *law]


def _panels(one: Approaches, several: bool) -> list[Panel]:
    what = f": {one.experiment}" if several else ""

    def named(base: str) -> str:
        return anchor(base, one.experiment, several)

    found: list[Panel] = []
    if one.isoflop.budgets:
        caption = (
            "The loss against parameters at each budget (labelled by its FLOPs), with the parabola"
            " in log N through its runs and its minimum (a diamond, with its 95 % interval; open"
            " where it is not used). Dotted: the fitted law at the same budget."
        )
        found.append(
            Panel(
                named("profiles"),
                f"IsoFLOP profiles{what}",
                _profiles(one),
                caption,
                budgets_table(one),
            )
        )
    if one.approaches:
        wanted: tuple[tuple[str, str, str, str, _Take], ...] = (
            (
                "size",
                "The best size, N*(C)",
                "parameters of least loss",
                SIZE_LABEL,
                lambda params, tokens: params,
            ),
            (
                "tokens",
                "The best length, D*(C)",
                "tokens of least loss",
                SIZE_LABEL,
                lambda params, tokens: tokens,
            ),
            (
                "ratio",
                "Tokens per parameter",
                "tokens per parameter",
                PLAIN_LABEL,
                lambda params, tokens: tokens / params,
            ),
        )
        caption = (
            "Marks are the minima of the profiles, lines the powers of compute through them (or the"
            " fitted law's best splits), bands 95 %; dashed: beyond the runs."
        )
        found += [
            Panel(
                named(base),
                title + what,
                _optimum(one, take, axis, label, base == "ratio"),
                caption,
                None,
            )
            for base, title, axis, label, take in wanted
        ]
    return found


_Take = Callable[[Floats, Floats], Floats]
"""What is drawn, from parameters and tokens."""


def _profiles(one: Approaches) -> dict[str, Any]:
    budgets = one.isoflop.budgets
    rows, minima, parabolas, slices, ends = [], [], [], [], []
    for budget in budgets:
        params_R = one.params_N[budget.rows_R]
        sizes_X = np.geomspace(params_R.min(), params_R.max(), 40)
        losses_X = budget.at(sizes_X)
        rows += [_run(one, int(row), budget) for row in budget.rows_R]
        parabolas += [
            {"params": float(x), "loss": float(y), "flops": budget.flops}
            for x, y in zip(sizes_X, losses_X, strict=True)
        ]
        slices += [
            {"params": float(x), "loss": float(y), "flops": budget.flops}
            for x, y in zip(sizes_X, one.slice(budget, sizes_X), strict=True)
        ]
        ends.append(
            {
                "params": float(sizes_X[-1]),
                "loss": float(losses_X[-1]),
                "text": compute(budget.flops),
            }
        )
        minima += _minimum(one, budget)
    params = log_domain([row["params"] for row in rows], 0.06)
    losses = log_domain([row["loss"] for row in [*rows, *parabolas]], 0.06)
    data = {
        "runs": rows,
        "parabolas": parabolas,
        "slices": [row for row in slices if np.isfinite(row["loss"])],
        "minima": minima,
    }
    return profiles_chart(
        rounded(data | {"names": apart(ends, minima, params, losses)}),
        params,
        losses,
        [budget.flops for budget in budgets],
    )


def apart(names: Sequence[Row], marks: Sequence[Row], params: Span, losses: Span) -> list[Row]:
    """Names a little above their places, but for those that would cover a mark or another name."""
    wide, tall = np.log(params[1] / params[0]), np.log(losses[1] / losses[0])

    def is_near(one: Row, other: Row, across: float, along: float) -> bool:
        return bool(
            abs(np.log(one["params"] / other["params"])) < across * wide
            and abs(np.log(one["loss"] / other["loss"])) < along * tall
        )

    kept: list[Row] = []
    for name in sorted(names, key=lambda name: -name["loss"]):
        raised = {**name, "loss": name["loss"] * np.exp(0.03 * tall)}
        covers = any(is_near(raised, other, 0.1, 0.045) for other in kept) or any(
            is_near(raised, mark, 0.05, 0.03) for mark in marks
        )
        kept += [] if covers else [raised]
    return kept


def _run(one: Approaches, row: int, budget: Budget) -> dict[str, Any]:
    places = {
        "params": float(one.params_N[row]),
        "loss": float(one.loss_N[row]),
        "flops": budget.flops,
    }
    said = {
        "budget": compute(budget.flops),
        "size": short(places["params"]),
        "length": short(float(one.tokens_N[row])),
    }
    return {**places, **said, **behind([one.digests[row]])}


def _minimum(one: Approaches, budget: Budget) -> list[dict[str, Any]]:
    """The mark of a minimum; none where the parabola has none."""
    place = budget.params.value
    if not (np.isfinite(place) and one.params_N.min() / 3 < place < one.params_N.max() * 3):
        return []
    low, high = (budget.params.ci95 if budget.determined else None) or (place, place)
    told = {
        "best": f"{short(place)} parameters",
        "about": f"{short(low)} to {short(high)}" if high > low else NONE,
    }
    return [
        {
            "params": place,
            "loss": budget.loss.value,
            "low": low,
            "high": high,
            "flops": budget.flops,
            **_of_budget(one, budget),
            **told,
        }
    ]


def _of_budget(one: Approaches, budget: Budget) -> dict[str, Any]:
    digests = [one.digests[row] for row in budget.rows_R]
    return {
        "used": budget.determined,
        "budget": compute(budget.flops),
        "runs": f"{len(digests)}",
        **behind(digests),
    }


def _optimum(
    one: Approaches, take: _Take, title: str, label: str, is_ratio: bool
) -> dict[str, Any]:
    flops_X = one.flops_X(FURTHER, _PLACES)
    lines = [
        row for approach in one.approaches for row in _line(approach, flops_X, one.largest, take)
    ]
    minima = [
        mark for budget in one.isoflop.budgets for mark in _budget_mark(one, budget, take, label)
    ]
    traced = [
        {
            "flops": float(flops),
            "value": float(value),
            "approach": SHORT_NAMES["envelope"],
            **behind([digest]),
        }
        for flops, value, digest in one.traced(take)
    ]
    values = [row[end] for row in lines for end in ("low", "high")] + [
        row["value"] for row in [*minima, *traced]
    ]
    values += [_TWENTY] if is_ratio else []
    flops = log_domain(flops_X, 0.03)
    guide = {"flops": _emptiest(lines, flops), "value": _TWENTY, "text": "20 tokens per parameter"}
    data = {
        "lines": lines,
        "minima": minima,
        "traced": traced,
        "guides": [{"flops": end, "value": _TWENTY} for end in flops] if is_ratio else [],
        "names": [guide] if is_ratio else [],
    }
    shown = [SHORT_NAMES[approach.kind] for approach in one.approaches]
    approaches = Palette.of(shown, list(SHORT_NAMES.values()))
    return optimum_chart(rounded(data), flops, log_domain(values, 0.04), title, label, approaches)


def _emptiest(lines: Sequence[Mapping[str, Any]], flops: Span) -> float:
    """Where along the guide at `_TWENTY` the lines are farthest from it."""
    places = [flops[0] * (flops[1] / flops[0]) ** share for share in (0.87, 0.5, 0.13)]

    def room(place: float) -> float:
        near = [
            row
            for row in lines
            if abs(np.log(row["flops"] / place)) < 0.12 * np.log(flops[1] / flops[0])
        ]
        return min((abs(float(np.log(row["value"] / _TWENTY))) for row in near), default=np.inf)

    return max(places, key=room)


def _line(approach: Approach, flops_X: Floats, largest: float, take: _Take) -> list[dict[str, Any]]:
    value_X = take(*approach.at(flops_X))
    low_X, high_X = band(take(*approach.draws_at(flops_X)), value_X)
    name = SHORT_NAMES[approach.kind]
    return [
        {
            "flops": float(flops),
            "value": float(value),
            "low": float(low),
            "high": float(high),
            "approach": name,
            "part": part,
            "piece": name + part,
        }
        for flops, value, low, high in zip(flops_X, value_X, low_X, high_X, strict=True)
        for part in (
            (WITHIN,)
            if flops < largest * (1 - 1e-9)
            else (BEYOND,)
            if flops > largest * (1 + 1e-9)
            else (WITHIN, BEYOND)
        )
        if np.isfinite(value)
    ]


def _budget_mark(one: Approaches, budget: Budget, take: _Take, label: str) -> list[dict[str, Any]]:
    params, tokens = budget.params, budget.tokens
    value = float(take(np.array(params.value), np.array(tokens.value)))
    if not np.isfinite(value) or not budget.determined:
        return []
    (small, large), (few, many) = (
        params.ci95 or (params.value,) * 2,
        tokens.ci95 or (tokens.value,) * 2,
    )
    # Tokens fall as parameters rise, so that the ends belong crosswise together.
    ends = sorted(
        float(take(np.array(size), np.array(length)))
        for size, length in ((small, many), (large, few))
    )
    form = short if label == SIZE_LABEL else "{:.3g}".format
    told = {
        "best": form(value),
        "about": (
            span((ends[0], ends[1]), ".3g")
            if label != SIZE_LABEL
            else f"{short(ends[0])} to {short(ends[1])}"
        ),
    }
    place = {
        "flops": budget.flops,
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "approach": SHORT_NAMES["isoflop"],
    }
    return [{**place, **_of_budget(one, budget), **told}]
