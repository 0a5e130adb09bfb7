"""The plane of facts and sizes: places, the grid between them, and lines that stay between sizes
that were tried.
"""

import numpy as np
import polars as pl
import pytest

from scalelab.fit.plane import Place, columns, crossing, field, joined, places


def place(facts: int, params: float, mean: float) -> Place:
    return Place(facts, params, (mean,), (f"{facts}/{params}",), ())


def test_places_are_means_over_trials_and_remember_who_stopped() -> None:
    rows = [
        {
            "digest": "a",
            "state": "done",
            "task.people": 8,
            "params.total": 1000,
            "metrics.recall": 0.2,
        },
        {
            "digest": "b",
            "state": "stopped",
            "task.people": 8,
            "params.total": 1000,
            "metrics.recall": 0.96,
        },
        {
            "digest": "b",
            "state": "stopped",
            "task.people": 8,
            "params.total": 1000,
            "metrics.recall": 0.96,
        },
        {
            "digest": "c",
            "state": "diverged",
            "task.people": 8,
            "params.total": 1000,
            "metrics.recall": 0.0,
        },
        {
            "digest": "d",
            "state": "done",
            "task.people": 8,
            "params.total": 2000,
            "metrics.recall": None,
        },
    ]
    (found,) = places(pl.DataFrame(rows), "metrics.recall")
    assert (found.facts, found.params, found.values, found.stopped, found.digests) == (
        32,
        1000,
        (0.2, 0.96),
        (0.96,),
        ("a", "b"),
    )


def test_a_crossing_lies_between_two_neighbours_that_were_tried() -> None:
    column = [place(32, 1000, 0.1), place(32, 4000, 0.9)]
    assert crossing(column, 0.5) == pytest.approx(2000)
    assert crossing(column, 0.95) is None
    assert crossing(column, 0.05) is None


def test_a_column_that_dips_is_crossed_where_it_last_rises() -> None:
    column = [
        place(32, 1000, 0.2),
        place(32, 2000, 0.8),
        place(32, 4000, 0.4),
        place(32, 8000, 0.6),
    ]
    found = crossing(column, 0.5)
    assert found is not None
    assert 4000 < found < 8000


def test_a_full_grid_is_filled_in_between_and_a_frontier_is_none() -> None:
    found = [
        place(32, 1000, 0.0),
        place(32, 2000, 0.3),
        place(32, 4000, 1.0),
        place(64, 1000, 0.0),
        place(64, 4000, 1.0),
    ]
    grid = field(found)
    assert grid is not None
    np.testing.assert_allclose(grid.value_YX, [[0, 0], [0.3, 0.5], [1, 1]])
    assert field([*found, place(128, 2000, 0.2), place(128, 8000, 1.0)]) is None
    assert [len(column) for column in columns(found)] == [3, 2]


def test_a_line_ends_where_a_column_does_not_cross() -> None:
    found = [
        place(facts, size, mean)
        for facts, low, high in (
            (32, 0.1, 0.9),
            (64, 0.1, 0.8),
            (128, 0.6, 0.9),
            (256, 0.2, 0.9),
            (512, 0.1, 0.7),
        )
        for size, mean in ((1000.0, low), (4000.0, high))
    ]
    assert [[facts for facts, _ in line] for line in joined(found, 0.5)] == [[32, 64], [256, 512]]
    assert joined(found, 0.95) == []
