from dataclasses import replace

import numpy as np
import pytest
from tests.fit.synthetic import TRUE, chinchilla, made

from scalelab.core.errors import UserError
from scalelab.fit.law import Choices
from scalelab.fit.laws import LAWS
from scalelab.fit.optimum import optimise, resume
from scalelab.fit.problem import Problem
from scalelab.fit.profile import profile


def test_a_straight_lines_profile_is_the_textbook_interval():
    rng = np.random.default_rng(0)
    bits_N = np.linspace(1e5, 1e6, 30)
    y_N = 2 * bits_N + 5e4 + 2e4 * rng.normal(size=30)
    problem = Problem.of(LAWS["capacity"], {"P": bits_N}, y_N)
    found = profile(problem, optimise(problem, Choices(starts=20)), "bits_per_param", points=61)
    design_NK = np.column_stack([np.ones(30), bits_N])
    slope = np.linalg.lstsq(design_NK, y_N)[0][1]
    left_N = y_N - design_NK @ np.linalg.lstsq(design_NK, y_N)[0]
    half = 2.0484 * np.sqrt((left_N**2).sum() / 28 * np.linalg.inv(design_NK.T @ design_NK)[1, 1])
    assert found.ci95 == pytest.approx((slope - half, slope + half), rel=2e-3)
    assert "residual variance" in found.noise


def test_the_profile_of_the_published_fit_rises_on_both_sides():
    problem = chinchilla()
    found = profile(problem, optimise(problem, Choices(starts=20)), "alpha")
    assert found.objective == pytest.approx(0.0010182740178, rel=1e-9)
    assert found.ci95 == pytest.approx((0.319, 0.372), abs=0.006)
    assert len(found.values_X) == len(found.objective_X) == 41
    least = int(found.objective_X.argmin())
    assert (np.diff(found.objective_X[: least + 1]) < 0).all()
    assert (np.diff(found.objective_X[least:]) > 0).all()
    assert "kappa" in found.noise
    assert found.scale > 0


def test_what_the_rows_do_not_tell_has_no_interval():
    """One size of model: A and alpha trade off against E without end."""
    rng = np.random.default_rng(0)
    places = {"N": np.full(40, 1e8), "D": 10 ** rng.uniform(9, 11, 40)}
    y_N = Problem.of(LAWS["chinchilla"], places, np.ones(40)).predict(TRUE["chinchilla"]) * np.exp(
        0.01 * rng.normal(size=40)
    )
    problem = Problem.of(LAWS["chinchilla"], places, y_N)
    found = profile(problem, optimise(problem, Choices(starts=20)), "E", points=21)
    assert found.ci95 is None
    assert found.ends[0] is None


def test_values_are_refitted_by_themselves():
    """Holding a coefficient at a place of its profile and fitting from scratch comes to the same
    objective.
    """
    problem = made("chinchilla", noise=0.01)
    found = profile(problem, optimise(problem, Choices(starts=20)), "A", points=11)
    for index in (0, 3, -1):
        held = optimise(problem.having(A=float(found.values_X[index])), Choices(starts=20))
        assert held.objective == pytest.approx(found.objective_X[index], rel=1e-5)


def test_only_free_coefficients_have_one():
    problem = made("chinchilla", noise=0.01).having(E=1.8)
    optimum = optimise(problem, Choices(starts=5))
    with pytest.raises(UserError, match="`E` is no free coefficient"):
        profile(problem, optimum, "E")


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6, 1e-8])
def test_however_precise_the_rows_the_interval_is_found(noise: float) -> None:
    rng = np.random.default_rng(0)
    n_N, d_N = 10 ** rng.uniform(7, 10, 80), 10 ** rng.uniform(9, 12, 80)
    y_N = (1.7 + 400 * n_N**-0.34 + 410 * d_N**-0.28) * np.exp(rng.normal(0, noise, 80))
    problem = Problem.of(LAWS["chinchilla"], {"N": n_N, "D": d_N}, y_N)
    optimum = optimise(problem, Choices(starts=20))
    found = profile(problem, optimum, "E")
    assert found.ci95 is not None
    low, high = found.ci95
    assert low < optimum.coefficients["E"] < high
    assert 5 * noise < high - low < 20 * noise


def test_a_lower_objective_that_a_profile_finds_is_gone_on_from():
    """A search that stopped short of the optimum: the profile refits all other coefficients."""
    problem = made("power_offset", noise=0.01)
    optimum = optimise(problem, Choices(starts=10))
    short = {**optimum.coefficients, "E": 0.99 * optimum.coefficients["E"]}
    missed = replace(
        optimum,
        coefficients=short,
        objective=problem.objective(short),
        theta_P=problem.theta(short)[0],
    )
    found = profile(problem, missed, "alpha", points=11)
    assert found.objective < missed.objective * (1 - 1e-3)
    assert problem.objective(found.lowest) == pytest.approx(found.objective, rel=1e-9)
    low, high = found.ends
    assert low is None or low <= missed.coefficients["alpha"]
    assert high is None or missed.coefficients["alpha"] <= high
    resumed = resume(problem, missed, found.lowest, seed=0)
    assert resumed.objective == pytest.approx(optimum.objective, rel=1e-9)
    assert resumed.coefficients == pytest.approx(optimum.coefficients, rel=1e-4)
    assert resumed.rivals_KP[0] == pytest.approx(missed.theta_P)
