"""The plane of facts and parameters: what was measured at each place, and what lies between the
places.

A frontier search runs only part of a grid, other sizes for other numbers of facts. A column (one
number of facts) is interpolated between the sizes that were tried on it and never beyond.

Shape letters: X columns, Y sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import fmean

import numpy as np
import polars as pl

from scalelab.fit.censored import Floats
from scalelab.fit.frontier import ATTRIBUTES


@dataclass(frozen=True)
class Place:
    """One size on one number of facts: the values of its trials, in the order of `digests`.

    Among replicates of a frontier search only those were run that their own search asked for.
    """

    facts: int
    params: float
    values: tuple[float, ...]
    digests: tuple[str, ...]
    stopped: tuple[float, ...]
    """The values of those that stopped early: the end of the budget would have raised
    them, or not.
    """

    @property
    def mean(self) -> float:
        """Over the trials."""
        return fmean(self.values)


def places(trials: pl.DataFrame, metric: str, size: str = "params.total") -> list[Place]:
    """Where done and stopped trials measured a column, ordered by facts and size; each trial counts
    once.
    """
    columns = {
        "people": pl.col("task.people"),
        "params": pl.col(size).cast(pl.Float64),
        "value": pl.col(metric),
    }
    known = trials.filter(pl.col("state").is_in(["done", "stopped"]), pl.col(metric).is_finite())
    rows = (
        known.select("digest", "state", **columns)
        .drop_nulls()
        .unique("digest")
        .sort("people", "params", "digest")
    )
    return [_place(group) for _, group in rows.group_by("people", "params", maintain_order=True)]


def _place(rows: pl.DataFrame) -> Place:
    first, lists = rows.row(0, named=True), rows.to_dict(as_series=False)
    stopped = tuple(
        value
        for value, state in zip(lists["value"], lists["state"], strict=True)
        if state == "stopped"
    )
    return Place(
        ATTRIBUTES * first["people"],
        first["params"],
        tuple(lists["value"]),
        tuple(lists["digest"]),
        stopped,
    )


@dataclass(frozen=True)
class Field:
    """Values over facts and sizes on a grid; NaN where a column has no value."""

    facts_X: Floats
    params_Y: Floats
    value_YX: Floats


def columns(found: Sequence[Place]) -> list[list[Place]]:
    """The places of each number of facts, by size."""
    return [list(column) for _, column in groupby(found, key=lambda place: place.facts)]


def field(found: Sequence[Place]) -> Field | None:
    """The grid of places, with sizes that a column misses filled in between its neighbours, linear
    in the logarithm of the size.

    None where columns don't reach from one smallest to one largest size, as those of a frontier
    search don't.
    """
    tried = columns(found)
    if (
        len(tried) < 2
        or len({(column[0].params, column[-1].params) for column in tried}) > 1
        or len(tried[0]) < 2
    ):
        return None
    params_Y = np.unique([place.params for place in found])
    along_Y = np.log(params_Y)
    values = [
        np.interp(
            along_Y, np.log([place.params for place in column]), [place.mean for place in column]
        )
        for column in tried
    ]
    return Field(
        np.array([column[0].facts for column in tried], dtype=np.float64),
        params_Y,
        np.stack(values, axis=1),
    )


def joined(found: Sequence[Place], level: float) -> list[list[tuple[int, float]]]:
    """Lines (facts, size) through the sizes at which neighbouring columns rise through a level; a
    column without one ends a line.
    """
    lines: list[list[tuple[int, float]]] = [[]]
    for column in columns(found):
        at = crossing(column, level)
        if at is None:
            lines.append([])
        else:
            lines[-1].append((column[0].facts, at))
    return [line for line in lines if len(line) > 1]


def crossing(column: Sequence[Place], level: float) -> float | None:
    """The size, between two neighbours that were tried, at which a column last rises through a
    level; None where it never does.
    """
    for below, above in reversed(list(pairwise(column))):
        if below.mean < level <= above.mean:
            share = (level - below.mean) / (above.mean - below.mean)
            return float(below.params ** (1 - share) * above.params**share)
    return None
