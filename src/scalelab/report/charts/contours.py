"""Contour lines as rows of a chart: Vega-Lite draws no contours itself.

Shapes: X and Y are the places along the axes; z_YX has a row for each y.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import ArrayLike

Row = Mapping[str, Any]
_SHORT = 0.04
"""A path shorter than this share of the drawn square's side gets no label."""


def contour_lines(
    x_X: ArrayLike, y_Y: ArrayLike, z_YX: ArrayLike, levels: Iterable[float]
) -> list[dict[str, Any]]:
    """Where z crosses the levels, between places on log axes: rows `x`, `y`, `level`, `path`, `i`.

    A path is one unbroken line, `i` the order of its points: draw with `detail="path:N"` and
    `order="i:Q"`. Nothing is drawn where z is NaN, and nothing beyond the outermost places. x and y
    must be positive and rising; z is taken as linear in log x and log y between neighbours.
    """
    log_x_X, log_y_Y, values_YX = (
        np.log10(np.asarray(x_X, float)),
        np.log10(np.asarray(y_Y, float)),
        np.asarray(z_YX, float),
    )
    assert values_YX.shape == (len(log_y_Y), len(log_x_X)), (
        "z has a row for each y and a column for each x"
    )
    if min(values_YX.shape) < 2:
        return []
    hidden = np.ma.masked_invalid(values_YX)
    traced = contour_generator(log_x_X, log_y_Y, hidden, line_type=LineType.Separate)
    rows: list[dict[str, Any]] = []
    path = 0
    for level in sorted(levels):
        for line in traced.lines(level):
            rows += [_point(point, level, path, i) for i, point in enumerate(np.asarray(line))]
            path += 1
    return rows


def _point(point: np.ndarray, level: float, path: int, i: int) -> dict[str, Any]:
    return {
        "x": float(10 ** point[0]),
        "y": float(10 ** point[1]),
        "level": float(level),
        "path": path,
        "i": i,
    }


def label_places(rows: Sequence[Row], at: float = 0.5) -> list[dict[str, Any]]:
    """One row for each path that is long enough to bear a label: the point at the share `at` of its
    length on log axes.
    """
    if not rows:
        return []
    log_P2 = np.log10([[row["x"], row["y"]] for row in rows])
    low, high = log_P2.min(axis=0), log_P2.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    paths = [list(path) for _, path in groupby(rows, key=itemgetter("path"))]
    places = [_place(path, low, size, at) for path in paths]
    return [dict(place) for place in places if place is not None]


def _place(path: Sequence[Row], low: np.ndarray, size: np.ndarray, at: float) -> Row | None:
    points_P2 = (np.log10([[row["x"], row["y"]] for row in path]) - low) / size
    steps = np.hypot(*np.diff(points_P2, axis=0).T)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return path[int(np.searchsorted(length, at * length[-1]))] if length[-1] >= _SHORT else None
