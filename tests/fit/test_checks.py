"""Every warning has its code, and none is given without its cause."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fit.published import grid, law, trials

from scalelab.fit.checks import identity_warnings, optimum_warnings, reach_warnings, sample_warnings
from scalelab.fit.estimate import Estimate
from scalelab.fit.law import Choices, apply
from scalelab.fit.laws import find
from scalelab.fit.optimum import Optimum, optimise
from scalelab.fit.problem import Problem
from scalelab.fit.profile import profile
from scalelab.fit.projection import CrossCheck
from scalelab.fit.sample import sample

LAW = find("chinchilla")


def codes(frame: pl.DataFrame) -> dict[str, str]:
    return {warned.code: warned.text for warned in sample_warnings(LAW, sample(frame, LAW))}


def searched(frame: pl.DataFrame, **choices: object) -> tuple[Problem, Optimum]:
    chosen = Choices(starts=30, **choices)  # pyright: ignore
    applied = apply(LAW, chosen)
    rows = sample(frame, applied)
    problem = Problem.of(applied, rows.columns, rows.y_N, rows.weight_N)
    return problem, optimise(problem, chosen)


def test_a_good_grid_with_replicates_has_no_warning() -> None:
    assert codes(pl.concat([grid(seed=0), grid(seed=1)])) == {}


def test_two_levels_are_few() -> None:
    frame = pl.concat([grid(sizes=2, lengths=12, seed=seed) for seed in range(2)])
    assert codes(frame) == {"few_levels": "`params.total` has 2 levels: a power of it needs 3."}


def test_levels_within_a_hundredth_are_one() -> None:
    frame = grid(sizes=2, lengths=12).with_columns(
        pl.col("params.total") * (1 + 0.004 * np.random.default_rng(0).random(24))
    )
    assert "few_levels" in codes(frame)


def test_tokens_proportional_to_parameters_are_hardly_told_apart() -> None:
    frame = grid().with_columns(
        pl.Series("params.total", np.geomspace(1e7, 1e10, 24)),
        pl.Series("budget.tokens", np.geomspace(2e8, 2e11, 24)),
    )
    assert "correlation of their logarithms 1.000" in codes(frame)["collinear"]


def test_few_configurations() -> None:
    five = grid().gather([0, 5, 10, 15, 22])
    assert (
        "5 configurations for 5 coefficients"
        in codes(pl.concat([five, five]))["few_configurations"]
    )
    assert "fewer than 20" in codes(grid(sizes=3, lengths=3))["small_design"]


def test_near_duplicates() -> None:
    frame = pl.concat(
        [
            grid(),
            grid()
            .head(3)
            .with_columns(pl.col("configuration") + "b", pl.col("params.total") * 1.0005),
        ]
    )
    assert codes(frame)["near_duplicates"].startswith("6 configurations")


def test_stopped_and_diverged_trials_are_said() -> None:
    states = ["stopped"] * 2 + ["diverged"] * 3 + ["queued"] + ["done"] * 18
    found = codes(grid().with_columns(pl.Series("state", states)))
    assert found["stopped_used"].startswith("2 stopped trials are used")
    assert found["diverged_dropped"] == "3 of 24 rows are left out: diverged."
    assert found["unfinished_dropped"] == "1 of 24 rows are left out: unfinished."


def test_rows_without_a_value_are_said() -> None:
    frame = grid().with_columns(pl.Series("metrics.loss", [None, *grid()["metrics.loss"][1:]]))
    assert (
        codes(frame)["incomplete_dropped"] == "1 of 24 rows are left out: without `metrics.loss`."
    )


def test_an_exponent_at_its_bound() -> None:
    problem, optimum = searched(grid(), bounds={"alpha": (0.0, 0.2)})
    found = {warned.code: warned.text for warned in optimum_warnings(problem, optimum, None)}
    assert found["at_bound"] == "`alpha` lies at its bound (0.2): the optimum may lie beyond."


def test_a_better_optimum_by_projection_is_said_and_a_worse_one_is_not() -> None:
    problem, optimum = searched(grid())
    for factor, said in ((0.9, True), (1.1, False), (1.0, False)):
        check = CrossCheck(optimum.objective * factor, {}, 1)
        assert (
            "projection_disagrees"
            in [warned.code for warned in optimum_warnings(problem, optimum, check)]
        ) is said


def test_an_irreducible_term_above_the_least_loss() -> None:
    problem, optimum = searched(grid(noise=0.001))
    high = Optimum(**{**vars(optimum), "coefficients": {**optimum.coefficients, "E": 2.5}})
    assert "loss_below_irreducible" in [
        warned.code for warned in optimum_warnings(problem, high, None)
    ]


def test_a_floor_whose_interval_reaches_zero_is_not_identified() -> None:
    problem, optimum = searched(grid())
    for low, said in ((1e-9, True), (1.5, False)):
        estimates = {
            name: Estimate(value, 0.1, (low, 2.0)) for name, value in optimum.coefficients.items()
        }
        found = [warned.text for warned in identity_warnings(problem, optimum, estimates, {})]
        assert found == (
            ["`E` is not told by these rows: its interval, 1e-09 to 2, reaches zero."]
            if said
            else []
        )


def test_starts_that_differ_are_no_matter_where_the_profile_closes() -> None:
    problem, optimum = searched(grid())
    differing = replace(optimum, ridges={"A": (399.0, 403.0)})
    estimates = {name: Estimate(value) for name, value in optimum.coefficients.items()}
    closed = profile(problem, optimum, "A", points=11)
    assert closed.ci95 is not None
    open_above = replace(closed, ends=(closed.ends[0], None))
    for found, said in (({"A": closed}, False), ({}, True), ({"A": open_above}, True)):
        warned = list(identity_warnings(problem, differing, estimates, found))
        assert [one.code for one in warned] == (["not_identified"] if said else [])


def test_a_direction_that_moves_no_prediction_is_not_identified() -> None:
    # Two sizes: E, A and alpha are three numbers for two.
    params, tokens = np.repeat([1e8, 1e9], 6), np.tile(np.geomspace(1e9, 1e12, 6), 2)
    loss = law(params, tokens) * np.exp(0.003 * np.random.default_rng(0).normal(size=12))
    problem, optimum = searched(
        trials({"params.total": params, "budget.tokens": tokens, "metrics.loss": loss})
    )
    estimates = {name: Estimate(value) for name, value in optimum.coefficients.items()}
    found = [warned.text for warned in identity_warnings(problem, optimum, estimates, {})]
    assert {
        name
        for name in LAW.coefficients
        if any(text.startswith(f"`{name}` is not told") for text in found)
    } >= {"E", "A", "alpha"}
    assert not any(text.startswith("`beta`") for text in found)


def test_how_far_beyond_the_data() -> None:
    rows = sample(grid(), LAW)
    [warned] = reach_warnings(LAW, rows, [6e28])
    assert warned.code == "extrapolation"
    assert "by 1 times its range" in warned.text  # six decades of data, six beyond
    assert list(reach_warnings(LAW, rows, [6e20])) == []


@pytest.mark.parametrize("name", ["width_depth", "sigmoid", "capacity"])
def test_laws_of_other_columns_have_no_budgets(name: str) -> None:
    assert list(reach_warnings(find(name), sample(grid(), LAW), [1e30])) == []
