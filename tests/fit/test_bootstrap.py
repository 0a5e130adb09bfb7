from dataclasses import replace

import numpy as np
import pytest
from tests.fit.synthetic import chinchilla, made

from scalelab.fit.bootstrap import Draws, bootstrap, wild
from scalelab.fit.estimate import interval
from scalelab.fit.law import Choices, Loss
from scalelab.fit.laws import LAWS
from scalelab.fit.minimise import minimise
from scalelab.fit.optimum import Optimum, optimise, starts
from scalelab.fit.problem import Problem


@pytest.fixture(scope="module")
def published() -> tuple[Problem, Optimum]:
    problem = chinchilla()
    return problem, optimise(problem, Choices(starts=20))


def test_errors_of_the_published_fit(published: tuple[Problem, Optimum]):
    problem, optimum = published
    draws = bootstrap(problem, optimum, np.arange(240), draws=1000, seed=0)
    assert draws.failed == 0
    assert draws.se(draws["alpha"]) == pytest.approx(0.0154, rel=0.1)
    assert draws.se(draws["beta"]) == pytest.approx(0.0206, rel=0.1)
    assert interval(draws["alpha"]) == pytest.approx((0.317, 0.373), abs=0.006)


def test_refits_are_at_their_optima(published: tuple[Problem, Optimum]):
    """Of a sample of resamples none has a lower optimum that many starts from the box
    would find.
    """
    problem, optimum = published
    draws = bootstrap(problem, optimum, np.arange(240), draws=20, seed=3)
    count_BG = (
        np.random.default_rng(3).multinomial(240, np.full(240, 1 / 240), size=20).astype(float)
    )
    values = problem.theta(draws.by_name)
    refitted_B = problem.value_and_gradient(values, count_BG)[0]
    starts_SP, _ = starts(problem, Choices(starts=20))
    many_SB = minimise(
        problem, np.tile(starts_SP, (20, 1)), np.repeat(count_BG, 20, axis=0)
    ).objective_S.reshape(20, 20)
    assert (refitted_B <= many_SB.min(axis=1) * (1 + 1e-6)).all()


def test_rows_of_a_cluster_go_together():
    """Doubling every row in its own cluster changes no draw; as clusters of their own they would
    narrow the intervals.
    """
    problem = made("power_offset", rows=30, noise=0.02)
    twice = Problem.of(
        problem.law, {"N": np.repeat(problem.columns["N"], 2)}, np.repeat(problem.y_N, 2)
    )
    one, two = optimise(problem, Choices(starts=20)), optimise(twice, Choices(starts=20))
    single = bootstrap(problem, one, np.arange(30), draws=200, seed=1)
    together = bootstrap(twice, two, np.repeat(np.arange(30), 2), draws=200, seed=1)
    apart = bootstrap(twice, two, np.arange(60), draws=200, seed=1)
    assert together["alpha"] == pytest.approx(single["alpha"], rel=1e-3)
    assert apart.se(apart["alpha"]) < 0.85 * single.se(single["alpha"])


def test_draws_are_the_same_for_the_same_seed_and_told_of():
    problem = made("power", noise=0.02)
    optimum = optimise(problem, Choices(starts=10))
    told: list[int] = []
    first = bootstrap(problem, optimum, np.arange(120), draws=50, seed=1, tell=told.append)
    again = bootstrap(problem, optimum, np.arange(120), draws=50, seed=1)
    other = bootstrap(problem, optimum, np.arange(120), draws=50, seed=2)
    assert (first.values_BK == again.values_BK).all()
    assert (first.values_BK != other.values_BK).any()
    assert told[-1] == 50
    assert told == sorted(told)


def test_fixed_coefficients_are_among_the_draws():
    problem = made("chinchilla", noise=0.01).having(E=1.8)
    draws = bootstrap(problem, optimise(problem, Choices(starts=10)), np.arange(120), draws=20)
    assert set(draws.names) == {"A", "B", "E", "alpha", "beta"}
    assert (draws["E"] == 1.8).all()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [Loss(), Loss("squared")])
def test_wild_intervals_of_a_small_design_cover(loss: Loss):
    """Nine configurations, nominal 95 %: the naive residual bootstrap covers 74 %."""
    params_N, tokens_N = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(3e7, 3e9, 3), np.geomspace(1e9, 1e11, 3))
    )
    law, covered = replace(LAWS["chinchilla"], loss=loss), []
    for seed in range(25):
        noise_N = 0.005 * np.random.default_rng(seed).normal(size=9)
        y_N = (1.8 + 480 * params_N**-0.35 + 2100 * tokens_N**-0.37) * np.exp(noise_N)
        problem = Problem.of(law, {"N": params_N, "D": tokens_N}, y_N)
        draws = wild(
            problem, optimise(problem, Choices(starts=10)), np.arange(9), draws=150, seed=seed
        )
        covered += [
            interval(draws[name])[0] <= true <= interval(draws[name])[1]
            for name, true in (("alpha", 0.35), ("beta", 0.37))
        ]
    assert np.mean(covered) > 0.84


def test_wild_draws_are_as_wide_as_students_t():
    """In a straight line with normal noise the interval is the textbook's: t times the standard
    error.
    """
    rng = np.random.default_rng(0)
    bits_N = np.linspace(1e5, 1e6, 12)
    y_N = 2 * bits_N + 5e4 + 2e4 * rng.normal(size=12)
    problem = Problem.of(LAWS["capacity"], {"P": bits_N}, y_N)
    draws = wild(problem, optimise(problem, Choices(starts=20)), np.arange(12), draws=2000)
    design_NK = np.column_stack([np.ones(12), bits_N])
    left_N = y_N - design_NK @ np.linalg.lstsq(design_NK, y_N)[0]
    error = np.sqrt((left_N**2).sum() / 10 * np.linalg.inv(design_NK.T @ design_NK)[1, 1])
    assert draws.se(draws["bits_per_param"]) == pytest.approx(error, rel=0.3)
    low, high = interval(draws["bits_per_param"])
    assert high - low == pytest.approx(2 * 2.228 * error, rel=0.3)


def test_an_interval_leaves_out_what_is_not_finite():
    assert interval(np.array([*np.linspace(0, 1, 101), np.nan, np.inf])) == pytest.approx(
        (0.025, 0.975)
    )
    assert interval(np.array([1.0])) is None
    assert np.isnan(Draws(("A",), np.ones((1, 1)), "pairs", 0).se(np.array([1.0])))
