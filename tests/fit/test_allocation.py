"""Shapes of one budget: axes, ranking, intervals, the probability of being best, and where the
variance comes from.
"""

from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from scalelab.fit.allocation import Ranking, Shape, is_one_budget, rank, shape_axes


def frame(
    effects: dict[int, float], noise: float = 0.02, replicates: int = 3, seed: int = 0
) -> pl.DataFrame:
    """Two depths, two numbers of heads, widths with an effect; the hidden width follows."""
    rng = np.random.default_rng(seed)
    rows = []
    for layers, width, heads, replicate in product((1, 2), effects, (1, 2), range(replicates)):
        recall = 0.5 + effects[width] - 0.1 * (layers - 1) + noise * rng.normal()
        sizes = {
            "layers": layers,
            "width": width,
            "heads": heads,
            "kv_heads": heads,
            "head_width": width // heads,
        }
        sizes["ffn.width"] = 1000 // (layers * width)
        fixed = {
            "digest": f"{layers}/{width}/{heads}/{replicate}",
            "state": "done",
            "seed": replicate,
            "params.total": 20_000 + width,
        }
        rows.append(
            {
                **fixed,
                **{f"model.{name}": size for name, size in sizes.items()},
                "metrics.recall": recall,
            }
        )
    return pl.DataFrame(rows)


def test_axes_are_what_is_declared_or_what_does_not_follow_from_the_rest() -> None:
    trials = frame({16: 0.0, 32: 0.1, 48: 0.05})
    assert shape_axes(trials) == ["model.layers", "model.width", "model.heads"]
    assert shape_axes(trials, {"model.layers", "model.ffn.width", "task.people"}) == [
        "model.layers",
        "model.ffn.width",
    ]
    assert shape_axes(trials.filter(pl.col("model.width") == 16, pl.col("model.heads") == 1)) == [
        "model.layers"
    ]


def test_the_best_shape_comes_first_with_its_interval() -> None:
    trials = frame({16: 0.0, 32: 0.2})
    ranking = rank(trials, "metrics.recall", ["model.layers", "model.width", "model.heads"])
    assert [shape.place[:2] for shape in ranking.shapes[:2]] == [(1, 32), (1, 32)]
    assert ranking.freedom == 8 * 2
    groups = trials.group_by("model.layers", "model.width", "model.heads").agg(
        pl.col("metrics.recall").var(ddof=1)
    )
    assert ranking.noise == pytest.approx(np.sqrt(np.mean(groups["metrics.recall"].to_list())))
    half = ranking.half(ranking.shapes[0])
    assert half == pytest.approx(student.ppf(0.975, 16) * ranking.noise / np.sqrt(3))


def test_only_shapes_near_the_best_are_its_rivals_and_share_the_chance() -> None:
    ranking = rank(
        frame({16: 0.0, 32: 0.3}), "metrics.recall", ["model.layers", "model.width", "model.heads"]
    )
    assert {shape.place for shape in ranking.rivals()} == {(1, 32, 1), (1, 32, 2)}
    assert sum(ranking.best) == pytest.approx(1)
    assert sum(ranking.best[:2]) == pytest.approx(1)


def test_shapes_that_are_all_alike_are_seldom_told_from_the_best() -> None:
    """The best of twelve is picked by luck: compared one by one, others are told from it in most
    tables.
    """
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        shapes = tuple(
            Shape((float(at),), {"model.width": at}, 1000, tuple(rng.normal(size=3)), ())
            for at in range(12)
        )
        ranked = tuple(sorted(shapes, key=lambda shape: -shape.mean))
        noise = float(np.sqrt(np.mean([np.var(shape.measured, ddof=1) for shape in ranked])))
        ranking = Ranking("metrics.x", ("model.width",), ranked, (0.0,) * 12, noise, 24)
        wrong += len(ranking.rivals()) < 12
        assert [p is not None and p > 0.05 for p in ranking.p_as_good].count(True) == len(
            ranking.rivals()
        )
    assert wrong / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_ties_share_the_chance() -> None:
    ranking = rank(
        frame({16: 0.0, 32: 0.0}, noise=0.0),
        "metrics.recall",
        ["model.layers", "model.width", "model.heads"],
    )
    assert ranking.best == pytest.approx((0.25,) * 4 + (0,) * 4)


def test_the_variance_is_told_apart() -> None:
    effects = rank(
        frame({16: 0.0, 32: 0.3, 48: 0.1}),
        "metrics.recall",
        ["model.layers", "model.width", "model.heads"],
    ).effects()
    assert effects is not None
    assert (
        effects.axes["model.width"]
        > effects.axes["model.layers"]
        > effects.replicates
        > effects.axes["model.heads"]
    )
    assert sum(effects.axes.values()) + effects.together + effects.replicates == pytest.approx(1)


def test_a_grid_with_a_hole_or_one_replicate_has_no_shares() -> None:
    trials, axes = frame({16: 0.0, 32: 0.3}), ["model.layers", "model.width", "model.heads"]
    holed = rank(
        trials.filter(
            ~(
                (pl.col("model.width") == 16)
                & (pl.col("model.layers") == 1)
                & (pl.col("model.heads") == 1)
            )
        ),
        "metrics.recall",
        axes,
    )
    single = rank(trials.filter(pl.col("seed") == 0), "metrics.recall", axes)
    assert holed.effects() is None
    assert single.effects() is None
    assert single.noise is None
    assert single.interval(single.shapes[0]) is None
    assert single.p_equal is None


def test_shapes_that_do_not_differ_are_said_not_to() -> None:
    axes = ["model.layers", "model.width", "model.heads"]
    noise = rank(frame({16: 0.0, 32: 0.0}, noise=0.5, seed=3), "metrics.recall", axes).p_equal
    signal = rank(frame({16: 0.0, 32: 0.3}), "metrics.recall", axes).p_equal
    assert noise is not None
    assert signal is not None
    assert noise > 0.05
    assert signal < 1e-6


def test_one_budget_is_within_a_tenth() -> None:
    assert is_one_budget(pl.DataFrame({"params.total": [100, 109]}))
    assert not is_one_budget(pl.DataFrame({"params.total": [100, 111]}))
    assert not is_one_budget(pl.DataFrame({"params.total": pl.Series([], dtype=pl.Int64)}))
