"""Curves of trials, put together: places, means, bands, what holds and what leaves, and the x that
a curve does not tell.
"""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.report.figure import Rows
from scalelab.report.figures.learning_curves.data import (
    PLACES,
    is_log,
    metric_names,
    points,
    series,
)
from scalelab.report.figures.learning_curves.ways import APART, CLASSES, LINES, Way
from scalelab.report.runs import names_of, told_apart


def trials(*rows: dict[str, Any]) -> pl.DataFrame:
    plain = {
        "state": "done",
        "seed": 0,
        "steps": 100,
        "step": 100,
        "tokens": 1000,
        "flops": 1e6,
        "seconds": 50.0,
        "task.people": 8,
    }
    return pl.DataFrame([plain | row for row in rows])


def curve(digest: str, values: dict[int, float], name: str = "loss") -> pl.DataFrame:
    return pl.DataFrame(
        {"digest": digest, "step": list(values), "name": name, "value": list(values.values())}
    )


def drawn(
    found: pl.DataFrame,
    members: pl.DataFrame,
    log: bool = False,
    places: int = PLACES,
    middle: float = 1.0,
) -> Any:
    return series(found, members.with_columns(label=pl.lit("all")), [], places, log, middle)


def test_metrics_are_what_moves_and_neither_speed_nor_position() -> None:
    names = ("loss", "tokens", "seconds", "tokens_per_second", "exposures", "flops")
    curves = pl.concat(
        [curve("a", {1: 1.0, 2: 2.0}, name) for name in names] + [curve("a", {2: 0.5}, "final")]
    )
    assert metric_names(curves) == ["loss"]
    assert metric_names(pl.DataFrame()) == []


def test_x_is_what_the_curve_tells_and_else_even_in_the_steps() -> None:
    curves = pl.concat(
        [
            curve("a", {10: 2.0, 20: 1.0}),
            curve("a", {10: 160.0, 20: 330.0}, "tokens"),
            curve("b", {50: 3.0}),
        ]
    )
    rows = Rows(trials({"digest": "a"}, {"digest": "b"}), {}, curves=curves)
    assert points(rows, "loss", "tokens").rows() == [
        ("a", 160.0, 2.0),
        ("a", 330.0, 1.0),
        ("b", 500.0, 3.0),
    ]
    assert points(rows, "loss", "steps")["x"].to_list() == [10.0, 20.0, 50.0]
    assert points(rows, "loss", "seconds")["x"].to_list() == [5.0, 10.0, 25.0]


def test_seconds_of_a_trial_that_went_on_are_added_up() -> None:
    curves = pl.concat(
        [
            curve("a", dict.fromkeys((1, 2, 3, 4), 1.0)),
            curve("a", {1: 5.0, 2: 9.0, 3: 2.0, 4: 6.0}, "seconds"),
        ]
    )
    assert points(Rows(trials({"digest": "a"}), {}, curves=curves), "loss", "seconds")[
        "x"
    ].to_list() == [5.0, 9.0, 11.0, 15.0]


def test_what_is_not_finite_is_left_out() -> None:
    rows = Rows(trials({"digest": "a"}), {}, curves=curve("a", {1: 1.0, 2: math.nan, 3: math.inf}))
    assert points(rows, "loss", "steps")["x"].to_list() == [1.0]


def test_replicates_are_averaged_and_the_band_is_their_range() -> None:
    rows = trials({"digest": "a", "seed": 0}, {"digest": "b", "seed": 1})
    found = pl.DataFrame(
        {"digest": ["a", "a", "b", "b"], "x": [1.0, 3.0, 1.0, 3.0], "value": [4.0, 2.0, 2.0, 1.0]}
    )
    (line,) = drawn(found, rows)
    assert line.x_X.tolist() == [1.0, 3.0]
    assert line.mean_X.tolist() == [3.0, 1.5]
    assert (line.low_X.tolist(), line.high_X.tolist()) == ([2.0, 1.0], [4.0, 2.0])
    assert [(end.digest, end.x, end.value) for end in line.ends] == [
        ("a", 3.0, 2.0),
        ("b", 3.0, 1.0),
    ]


@pytest.mark.parametrize(
    ("state", "mean"), [("stopped", 1.5), ("done", 1.5), ("diverged", 1.0), ("running", 1.0)]
)
def test_a_trial_that_is_through_holds_its_value_and_one_that_broke_off_leaves_the_mean(
    state: str, mean: float
) -> None:
    rows = trials({"digest": "a", "state": state}, {"digest": "b", "seed": 1})
    found = pl.DataFrame(
        {"digest": ["a", "a", "b", "b"], "x": [1.0, 2.0, 1.0, 4.0], "value": [4.0, 2.0, 4.0, 1.0]}
    )
    (line,) = drawn(found, rows)
    assert line.last() == (4.0, mean)


def test_many_places_become_few_that_keep_both_ends() -> None:
    steps = np.arange(1.0, 5001.0)
    found = pl.DataFrame({"digest": "a", "x": steps, "value": 2 * steps})
    (line,) = drawn(found, trials({"digest": "a"}), log=True, places=50)
    assert len(line.x_X) == 50
    assert (line.x_X[0], line.x_X[-1]) == (1.0, 5000.0)
    assert line.mean_X == pytest.approx(2 * line.x_X)


def test_on_a_log_axis_the_beginning_at_zero_is_left_out() -> None:
    found = pl.DataFrame({"digest": "a", "x": [0.0, 1.0, 2.0], "value": [5.0, 4.0, 3.0]})
    assert drawn(found, trials({"digest": "a"}), log=True)[0].x_X.tolist() == [1.0, 2.0]
    assert drawn(found, trials({"digest": "a"}))[0].x_X.tolist() == [0.0, 1.0, 2.0]


def test_the_axis_is_logarithmic_where_points_crowd_at_the_beginning_or_lengths_differ() -> None:
    def of(*xs: list[float]) -> pl.DataFrame:
        return pl.concat(
            [
                pl.DataFrame({"digest": str(index), "x": x, "value": 1.0})
                for index, x in enumerate(xs)
            ]
        )

    assert is_log(of([1.0, 10.0, 100.0, 1000.0]))
    assert is_log(of([10.0, 20.0], [100.0, 200.0]))
    assert not is_log(of([10.0, 20.0, 30.0, 40.0]))
    assert not is_log(of([0.0]))


def test_axes_that_follow_from_others_tell_nothing_apart() -> None:
    rows = [
        {"digest": str(w), "model.width": w, "model.ffn.hidden": 4 * w, "task.people": p}
        for w in (4, 8)
        for p in (8, 16)
    ]
    assert told_apart(trials(*rows), {"a": {"axes": {"model.width": []}}}) == [
        "model.width",
        "task.people",
    ]
    assert names_of(["model.width", "task.people", "model.ffn.width"]) == {
        "model.width": "model.width",
        "task.people": "people",
        "model.ffn.width": "model.ffn.width",
    }


def many(count: int) -> pl.DataFrame:
    return trials(*({"digest": f"{index:04}", "model.width": index + 1} for index in range(count)))


def test_few_series_are_told_apart_more_share_a_ramp_and_very_many_become_classes() -> None:
    few, more, most = (
        Way.of(Rows(many(count), {}), ["model.width"]) for count in (APART, APART + 1, LINES + 1)
    )
    assert (few.count, few.colouring.axis, few.middle) == (APART, "", 1.0)
    assert few.colouring.palette.names[:3] == ["width 1", "width 2", "width 3"]
    assert (more.colouring.axis, more.colouring.span, more.axes) == (
        "model.width",
        (1.0, APART + 1.0),
        ["model.width"],
    )
    assert (most.count, most.axes, most.colouring.axis) == (CLASSES, [], "")
    assert most.middle < 1
    assert most.colouring.palette.names[0] == "width 1 to 31"
    assert most.members.height == LINES + 1


def test_words_are_classes_of_their_own_and_no_axis_is_one_series() -> None:
    assert Way.of(Rows(many(LINES + 1), {}), []).colouring.palette.names == ["all runs"]
    kinds = [str(index) for index in range(APART + 3)]
    words = Way.of(
        Rows(trials(*({"digest": kind, "model.kind": kind} for kind in kinds)), {}), ["model.kind"]
    )
    assert (words.colouring.axis, words.colouring.span) == ("model.kind", None)
