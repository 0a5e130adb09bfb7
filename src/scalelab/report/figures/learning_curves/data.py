"""Learning curves, from points of trials to series: replicates together, as many places as a chart
can show.

Shapes: R replicates of a series, X places along the axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalelab.core.events import FINISHED
from scalelab.core.metrics import POSITIONS, is_speed
from scalelab.report.figure import Rows

X_AXES = {
    "tokens": "training tokens",
    "flops": "training FLOPs",
    "seconds": "seconds of training",
    "steps": "training steps",
}
"""What curves may be drawn against, with the title of the axis."""
PLACES = 200
"""Places of a series at most."""
_HELD = FINISHED - {"diverged"}
"""States whose last value stands for what would come."""


@dataclass(frozen=True)
class End:
    """Where one trial's curve ends."""

    digest: str
    state: str
    seed: int
    x: float
    value: float


@dataclass(frozen=True)
class Series:
    """The trials that agree in every axis: their mean at each place, and the band about it."""

    label: str
    values: Mapping[str, Any]
    """Axis -> value."""
    x_X: np.ndarray
    mean_X: np.ndarray
    low_X: np.ndarray
    high_X: np.ndarray
    ends: Sequence[End]

    def last(self) -> tuple[float, float]:
        """The last place and the mean there."""
        return float(self.x_X[-1]), float(self.mean_X[-1])


def metric_names(curves: pl.DataFrame) -> list[str]:
    """Metrics that have a curve: two points or more in some trial, or where none has, one. How fast
    and how far is no metric.
    """
    if curves.is_empty():
        return []
    known = curves.filter(~pl.col("name").is_in(list(POSITIONS))).group_by("digest", "name").len()
    longest = dict(known.group_by("name").agg(pl.col("len").max()).iter_rows())
    metrics = {name: points for name, points in longest.items() if not is_speed(name)}
    # What is measured once at the end, beside curves, is a result and no curve.
    fewest = min(2, max(metrics.values(), default=0))
    return sorted(name for name, points in metrics.items() if points >= fewest)


def is_single(curves: pl.DataFrame) -> bool:
    """Whether every trial with points was evaluated once."""
    return not curves.is_empty() and bool(
        (curves.group_by("digest", "name").len()["len"] == 1).all()
    )


def points(rows: Rows, metric: str, x: str) -> pl.DataFrame:
    """`digest`, `x`, `value` of every finite point, each trial's in order.

    Where a curve does not tell its x, it is even in the steps.
    """
    values = rows.curves.filter(pl.col("name") == metric, pl.col("value").is_finite()).select(
        "digest", "step", "value"
    )
    if x == "steps":
        placed = values.with_columns(x=pl.col("step").cast(pl.Float64))
    else:
        known = (
            rows.curves.filter(pl.col("name") == x)
            .select("digest", "step", x="value")
            .sort("digest", "step")
        )
        known = _added_up(known) if x == "seconds" else known
        steps = pl.col("step" if x == "seconds" else "steps")
        rate = pl.col(x) / pl.when(steps > 0).then(steps)  # how much x a step has
        rates = rows.trials.unique("digest").select("digest", rate=rate)
        even = values.join(rates, on="digest", how="left")
        placed = even.join(known, on=("digest", "step"), how="left").with_columns(
            x=pl.col("x").fill_null(pl.col("rate") * pl.col("step"))
        )
    return (
        placed.filter(pl.col("x").is_finite()).sort("digest", "step").select("digest", "x", "value")
    )


def _added_up(known: pl.DataFrame) -> pl.DataFrame:
    """Seconds begin anew with every attempt: what the attempts before took is added."""
    before = pl.col("x").shift(1).over("digest")
    lost = pl.when(before > pl.col("x")).then(before).otherwise(0.0).cum_sum().over("digest")
    return known.with_columns(x=pl.col("x") + lost)


def is_log(points: pl.DataFrame) -> bool:
    """Whether the places want a log axis: trials of very different lengths, or points that crowd at
    the beginning.
    """
    spans = (
        points.filter(pl.col("x") > 0)
        .group_by("digest")
        .agg(end=pl.col("x").max(), middle=pl.col("x").median())
    )
    if spans.is_empty():
        return False
    end, middle = spans["end"].to_numpy(), spans["middle"].to_numpy()
    return bool(end.max() > 4 * end.min() or np.median(middle / end) < 0.35)


def series(
    points: pl.DataFrame,
    members: pl.DataFrame,
    axes: Sequence[str],
    places: int,
    log: bool,
    middle: float = 1.0,
) -> list[Series]:
    """One series for each set of axis values among `members` (`digest`, `state`, `seed`, `label`
    and the axes), in their order.

    A replicate that is through holds its last value to the end of its series; one that diverged or
    failed leaves the mean. The band holds the middle share of the replicates, 1 for all of them.
    """
    kept = points.filter(pl.col("x") > 0) if log else points
    curves = {str(key[0]): part for key, part in kept.group_by("digest", maintain_order=True)}
    drawn = members.filter(pl.col("digest").is_in(list(curves)))
    return [
        _series(group, curves, axes, places, log, middle)
        for _, group in drawn.group_by("label", maintain_order=True)
    ]


def _series(
    group: pl.DataFrame,
    curves: Mapping[str, pl.DataFrame],
    axes: Sequence[str],
    places: int,
    log: bool,
    middle: float,
) -> Series:
    trials = group.unique("digest", maintain_order=True).rows(named=True)
    lines = [
        (curves[trial["digest"]]["x"].to_numpy(), curves[trial["digest"]]["value"].to_numpy())
        for trial in trials
    ]
    grid_X = _grid([x for x, _ in lines], places, log)
    is_held = [trial["state"] in _HELD for trial in trials]
    value_RX = np.stack(
        [_held(grid_X, *line, held) for line, held in zip(lines, is_held, strict=True)]
    )
    seen_X = np.isfinite(value_RX).any(axis=0)
    value_RX, grid_X = value_RX[:, seen_X], grid_X[seen_X]
    low_X, high_X = _band(value_RX, middle)
    ends = [_end(trial, *line) for trial, line in zip(trials, lines, strict=True)]
    return Series(
        trials[0]["label"],
        {axis: trials[0][axis] for axis in axes},
        grid_X,
        np.nanmean(value_RX, axis=0),
        low_X,
        high_X,
        ends,
    )


def _band(value_RX: np.ndarray, middle: float) -> tuple[np.ndarray, np.ndarray]:
    if middle == 1:
        return np.nanmin(value_RX, axis=0), np.nanmax(value_RX, axis=0)
    # Without holes a quantile of all places at once takes a hundredth of the time.
    quantile = np.quantile if np.isfinite(value_RX).all() else np.nanquantile
    low_X, high_X = quantile(value_RX, [(1 - middle) / 2, (1 + middle) / 2], axis=0)
    return low_X, high_X


def _end(trial: Mapping[str, Any], x: np.ndarray, value: np.ndarray) -> End:
    return End(trial["digest"], trial["state"], trial["seed"], float(x[-1]), float(value[-1]))


def _grid(xs: Sequence[np.ndarray], places: int, log: bool) -> np.ndarray:
    """Every place that was measured, or where those are too many, places evenly between the first
    and the last of them.
    """
    known = np.unique(np.concatenate(xs))
    if len(known) <= places:
        return known
    return (
        np.geomspace(known[0], known[-1], places)
        if log
        else np.linspace(known[0], known[-1], places)
    )


def _held(grid_X: np.ndarray, x: np.ndarray, value: np.ndarray, held: bool) -> np.ndarray:
    """A trial's curve at the places, straight between its points; before its first
    point nothing.
    """
    return np.interp(grid_X, x, value, left=np.nan, right=None if held else np.nan)
