"""Contour lines on log axes: where they should be, in order, whole, and nowhere that nothing is
known.
"""

from itertools import pairwise

import numpy as np
import pytest

from scalelab.report.charts.contours import contour_lines, label_places

X = np.geomspace(1e6, 1e9, 25)
Y = np.geomspace(1e8, 1e12, 30)


def product() -> np.ndarray:
    """log10(x y), whose contours are straight lines on log axes: [Y, X]."""
    return np.log10(X)[None, :] + np.log10(Y)[:, None]


def test_a_line_lies_where_the_values_cross_the_level() -> None:
    rows = contour_lines(X, Y, product(), [16.3, 18.0])
    assert {row["level"] for row in rows} == {16.3, 18.0}
    for row in rows:
        assert np.log10(row["x"]) + np.log10(row["y"]) == pytest.approx(row["level"], abs=1e-9)


def test_a_path_is_one_unbroken_line_in_order() -> None:
    rows = contour_lines(X, Y, product(), [16.0, 17.0, 18.0])
    for path in {row["path"] for row in rows}:
        line = [row for row in rows if row["path"] == path]
        assert [row["i"] for row in line] == list(range(len(line)))
        steps = [
            np.hypot(np.log10(b["x"] / a["x"]), np.log10(b["y"] / a["y"]))
            for a, b in pairwise(line)
        ]
        assert max(steps) < 0.3


def test_where_nothing_is_known_nothing_is_drawn() -> None:
    z_YX = product()
    z_YX[:, X > 1e8] = np.nan
    rows = contour_lines(X, Y, z_YX, [17.0])
    assert rows
    assert max(row["x"] for row in rows) <= 1e8 * (1 + 1e-9)


def test_two_separate_lines_have_two_paths_and_one_label_each() -> None:
    ridge = -np.abs(np.log10(X)[None, :] - 7.5) + 0 * Y[:, None]
    rows = contour_lines(X, Y, ridge, [-0.5])
    labels = label_places(rows)
    assert len({row["path"] for row in rows}) == len(labels) == 2
    middle = np.sqrt(Y[0] * Y[-1])
    assert all(label["y"] == pytest.approx(middle, rel=0.5) for label in labels)


def test_a_level_that_is_not_crossed_and_a_grid_of_one_row_have_no_lines() -> None:
    assert contour_lines(X, Y, product(), [40.0]) == []
    assert contour_lines(X, Y[:1], product()[:1], [17.0]) == []
    assert label_places([]) == []


def test_a_path_too_short_to_read_has_no_label() -> None:
    z_YX = product()
    rows = contour_lines(X, Y, z_YX, [float(z_YX[0, 0]) + 0.01, 17.0])
    assert len({row["path"] for row in rows}) == 2
    assert [label["level"] for label in label_places(rows)] == [17.0]
