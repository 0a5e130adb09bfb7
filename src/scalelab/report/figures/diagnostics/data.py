"""The marks of fig. 6's charts.

Shape letters: N runs, B draws, G configurations.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import norm

from scalelab.fit.censored import Floats
from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    SIZE_LABEL,
)
from scalelab.report.charts.marks import behind
from scalelab.report.figures.diagnostics.diagnosis import Diagnosis
from scalelab.report.fits.text import fewer, run_marks, target
from scalelab.report.numbers import short

Row = dict[str, Any]

DRAWS = 300
"""Draws in a chart of pairs."""
PAIRS = 9
"""Pairs that are drawn: those that correlate most."""
RUNS = 20
"""Configurations in the chart of influence."""
_STARTS = 500
_LEAST = 1e-10
"""Starts no further above the best objective than this are drawn here: rounding tells them apart,
nothing else.
"""
_CURVED = 2.0
"""A positive coefficient whose draws range over more than this factor has a log axis."""


def residual_marks(one: Diagnosis) -> tuple[list[Row], list[Row], dict[str, tuple[str, str]]]:
    """Runs, running medians, and the columns that residuals are drawn against, with titles and
    labels of their axes.
    """
    marks = run_marks(one.fitted)
    titles = {
        "params": ("parameters, N", SIZE_LABEL),
        "tokens": ("tokens, D", SIZE_LABEL),
        "flops": ("compute, C", POWER_LABEL),
    }
    against = {place: titles[place] for place in one.fitted.places}
    columns = dict(one.fitted.places)
    if {"params", "tokens"} <= columns.keys():
        columns["ratio"] = columns["tokens"] / columns["params"]
        against["ratio"] = ("tokens per parameter, D/N", PLAIN_LABEL)
    for symbol, column in one.fitted.others.items():
        columns[f"by_{symbol}"] = column
        against[f"by_{symbol}"] = (
            f"{symbol}, {one.fitted.fit.law.columns[symbol]}",
            SIZE_LABEL if column.max() > 1e4 else PLAIN_LABEL,
        )
    columns["fitted"] = np.array([mark["fitted"] for mark in marks])
    against["fitted"] = (f"fitted {target(one.fitted.fit)}", PLAIN_LABEL)
    drawable = [name for name in against if (columns[name] > 0).all()]
    residual_N = np.array([mark["residual"] for mark in marks])
    medians = [row for name in drawable for row in _medians(name, columns[name], residual_N)]
    placed = [
        {**mark, **{name: float(columns[name][row]) for name in drawable}}
        for row, mark in enumerate(marks)
    ]
    return fewer(placed), medians, {name: against[name] for name in drawable}


def _medians(name: str, column_N: Floats, residual_N: Floats) -> Iterator[Row]:
    """Medians of up to twelve groups of neighbours; none where there are few runs."""
    if column_N.size < 24:
        return
    for group in np.array_split(np.argsort(column_N, kind="stable"), min(12, column_N.size // 8)):
        yield {
            "column": name,
            "at": float(np.exp(np.log(column_N[group]).mean())),
            "residual": float(np.median(residual_N[group])),
        }


def spread_marks(one: Diagnosis) -> dict[str, list[Row]]:
    """Histogram, normal curve, quantiles and the straight line through the middle half."""
    marks = sorted(run_marks(one.fitted), key=lambda mark: (mark["residual"], mark["trials"]))
    residual_N = np.array([mark["residual"] for mark in marks])
    count = residual_N.size
    middle = float(np.median(residual_N))
    sigma = (
        float(np.subtract(*np.quantile(residual_N, (0.75, 0.25)))) / (2 * norm.ppf(0.75))
        or float(residual_N.std())
        or 1.0
    )
    bins = int(np.clip(np.ptp(residual_N) / (2 * 1.349 * sigma / np.cbrt(count)), 5, 40))
    number_H, edge_H = np.histogram(residual_N, bins)
    normal_N = norm.ppf((np.arange(count) + 0.5) / count)
    at_X = np.linspace(edge_H[0], edge_H[-1], 90)
    bell_X = count * (edge_H[1] - edge_H[0]) * norm.pdf(at_X, middle, sigma)
    return {
        "bins": [
            {"low": float(a), "high": float(b), "count": int(n)}
            for a, b, n in zip(edge_H, edge_H[1:], number_H, strict=False)
        ],
        "bell": [
            {"at": float(at), "count": float(height)}
            for at, height in zip(at_X, bell_X, strict=True)
        ],
        "quantiles": fewer(
            [
                {**mark, "normal": float(normal)}
                for mark, normal in zip(marks, normal_N, strict=True)
            ]
        ),
        "straight": [
            {"normal": float(end), "residual": middle + sigma * float(end)}
            for end in normal_N[[0, -1]]
        ],
    }


def pairs(one: Diagnosis) -> tuple[dict[str, list[Row]], list[tuple[str, str, float]], list[str]]:
    """Draws and estimate, the pairs to draw with their correlations, and the coefficients on log
    axes. Nothing without two that vary.
    """
    fit = one.fitted.fit
    drawn = {name: fit.draws[name] for name in fit.law.free} if fit.draws is not None else {}
    drawn = {name: draws_B for name, draws_B in drawn.items() if np.ptp(draws_B) > 0}
    logarithmic = [
        name
        for name, draws_B in drawn.items()
        if draws_B.min() > 0 and draws_B.max() > _CURVED * draws_B.min()
    ]
    seen = {
        name: np.log(draws_B) if name in logarithmic else draws_B for name, draws_B in drawn.items()
    }
    every = [
        (first, second, float(np.corrcoef(seen[first], seen[second])[0, 1]))
        for first, second in combinations(drawn, 2)
    ]
    shown = sorted(every, key=lambda pair: (-abs(round(pair[2], 6)), pair[:2]))[:PAIRS]
    draws = (
        [
            dict(zip(drawn, map(float, values), strict=True))
            for values in np.stack(list(drawn.values()), axis=1)[:DRAWS]
        ]
        if drawn
        else []
    )
    return (
        {"draws": draws, "best": [{name: fit.coefficients[name] for name in drawn}]},
        shown,
        logarithmic,
    )


def profile_marks(one: Diagnosis) -> tuple[dict[str, list[Row]], list[str]]:
    """Profiles as the rise over what ends the 95 % interval, the intervals, the estimates; and the
    coefficients on log axes.
    """
    fit = one.fitted.fit
    profiles, limits, best, logarithmic = [], [], [], []
    for name, found in fit.profiles.items():
        shown_X = np.isfinite(found.objective_X) & np.isfinite(found.values_X)
        values_X, rise_X = (
            found.values_X[shown_X],
            (found.objective_X[shown_X] - found.objective) / (found.threshold - found.objective),
        )
        if values_X.min() > 0 and values_X.max() > _CURVED * values_X.min():
            logarithmic.append(name)
        profiles += [
            {"name": name, "at": float(at), "rise": float(rise)}
            for at, rise in zip(values_X, rise_X, strict=True)
        ]
        low, high = (
            end if end is not None else side
            for end, side in zip(found.ends, (values_X.min(), values_X.max()), strict=True)
        )
        limits.append({"name": name, "low": float(low), "high": float(high), "rise": 1.0})
        best.append({"name": name, "at": fit.coefficients[name]})
    return {"profiles": profiles, "limits": limits, "best": best}, logarithmic


def start_marks(one: Diagnosis) -> list[Row]:
    """Starts, best first, thinned; nothing where the best objective is zero, or there was one
    start.
    """
    objective_S = one.fitted.fit.optimum.objectives_S
    objective_S = objective_S[np.isfinite(objective_S)]
    best = one.fitted.fit.optimum.objective
    if best <= 0 or objective_S.size < 2:
        return []
    places = np.unique(
        np.linspace(0, objective_S.size - 1, min(_STARTS, objective_S.size)).round().astype(int)
    )
    return [
        {
            "share": (int(place) + 0.5) / objective_S.size,
            "above": max(_LEAST, float(objective_S[place]) / best - 1),
            "told": f"{objective_S[place]:.10g}",
        }
        for place in places
    ]


def most_moved(one: Diagnosis) -> list[int]:
    """The configurations whose absence moves some coefficient most, the first most."""
    moved_G = np.max([np.abs(one.moved(one.moves, name)) for name in one.shown], axis=0)
    return [int(index) for index in np.argsort(-np.nan_to_num(moved_G), kind="stable")]


def configuration(one: Diagnosis, index: int) -> tuple[str, list[str]]:
    """What a configuration is called, and its trials."""
    rows = np.flatnonzero(one.fitted.fit.sample.cluster_N == index)
    digests = [one.fitted.fit.sample.digests[row] for row in rows]
    sizes = [
        short(float(one.fitted.places[place][rows[0]]))
        for place in ("params", "tokens")
        if place in one.fitted.places
    ]
    return f"{digests[0][:10]} ({' on '.join(sizes)})" if sizes else digests[0][:10], digests


def move_marks(one: Diagnosis) -> tuple[list[Row], list[str]]:
    """Shifts of the configurations that move most, and these in order."""
    marks, order = [], []
    for index in most_moved(one)[:RUNS]:
        name, digests = configuration(one, index)
        order.append(name)
        for coefficient in one.shown:
            moved, value = one.moved(one.moves, coefficient)[index], one.moves[coefficient][index]
            told = {"moved": float(moved), "value": f"{value:.5g}"}
            marks += (
                [{"run": name, "name": coefficient, **told, **behind(digests)}]
                if np.isfinite(moved)
                else []
            )
    return marks, order


def drop_marks(one: Diagnosis) -> list[Row]:
    """Shifts without the k highest runs."""
    return [
        {"k": k, "name": name, "moved": float(moved), "value": f"{value:.5g}"}
        for name in one.shown
        for k, (moved, value) in enumerate(
            zip(one.moved(one.drops, name), one.drops[name], strict=True)
        )
        if np.isfinite(moved)
    ]


def holdout_marks(one: Diagnosis) -> list[Row]:
    """Runs that were held out, with what was predicted of them; for one fold, those fitted to as
    well.
    """
    if one.holdout is None:
        return []
    known = {mark["digests"][0]: mark for mark in run_marks(one.fitted)}
    marks, held = [], set[str]()
    for fold in one.holdout.folds:
        held |= set(fold.digests)
        marks += [
            _predicted(known[digest], float(actual), float(predicted), "held out")
            for digest, actual, predicted in zip(
                fold.digests, fold.actual_T, fold.predicted_T, strict=True
            )
        ]
    if len(one.holdout.folds) == 1:
        predicted_N = one.fitted.fit.problem.predict(
            one.holdout.folds[0].coefficients, one.fitted.fit.sample.columns
        )
        sample = one.fitted.fit.sample
        marks += [
            _predicted(known[digest], float(actual), float(predicted), "fitted to")
            for digest, actual, predicted in zip(
                sample.digests, sample.y_N, predicted_N, strict=True
            )
            if digest not in held
        ]
    return fewer([mark for mark in marks if min(mark["actual"], mark["predicted"]) > 0])


def _predicted(mark: Row, actual: float, predicted: float, part: str) -> Row:
    told = {name: mark[name] for name in ("size", "length", "trials", "digests") if name in mark}
    error = 100 * (predicted / actual - 1)
    return {
        **told,
        "actual": actual,
        "predicted": predicted,
        "residual": error,
        "percent": f"{error:+.2f} %",
        "part": part,
    }
