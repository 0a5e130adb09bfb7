"""Censored least squares against plain least squares, and against a general optimiser on the
likelihood as written in books.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats import t as student

from scalelab.fit.censored import FLOOR, fit_censored
from scalelab.fit.resample import cell_weights, draw_weights, intervals

X = np.repeat(2.0 ** np.arange(3, 9), 3)
DESIGN = np.column_stack([np.ones_like(X), X])


def sample(seed: int, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers 5000 + 12 x with noise 400, censored at the limit."""
    y = 5000 + 12 * X + np.random.default_rng(seed).normal(0, 400, len(X))
    return np.minimum(y, limit), y > limit


@given(st.integers(0, 1000), st.lists(st.floats(0.1, 5), min_size=len(X), max_size=len(X)))
def test_without_censoring_it_is_weighted_least_squares(seed: int, weights: list[float]) -> None:
    y, censored = sample(seed, np.inf)
    fitted = fit_censored(DESIGN, y, censored, np.array([weights]))
    slope, intercept = np.polyfit(X, y, 1, w=np.sqrt(weights))
    assert fitted.coefficients_BP[0] == pytest.approx([intercept, slope], rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_with_censoring_it_is_the_maximum_of_the_likelihood(seed: int) -> None:
    y, censored = sample(seed, 7000.0)
    assert 0 < censored.sum() < len(y)
    fitted = fit_censored(DESIGN, y, censored, np.ones((1, len(y))))

    def loss(state: np.ndarray) -> float:
        mean, sigma = state[0] * 1e3 + state[1] * X, np.exp(state[2])
        said = (
            norm.logpdf(y, mean, sigma)[~censored].sum()
            + norm.logsf(y, mean, sigma)[censored].sum()
        )
        return -said + 0.5 * len(y) * (FLOOR * y.mean() / sigma) ** 2

    found = minimize(
        loss,
        [5.0, 10.0, 6.0],
        method="Nelder-Mead",
        options={"maxiter": 20_000, "xatol": 1e-9, "fatol": 1e-11},
    )
    assert fitted.coefficients_BP[0] == pytest.approx([found.x[0] * 1e3, found.x[1]], rel=1e-4)
    assert fitted.sigma_B[0] == pytest.approx(np.exp(found.x[2]), rel=1e-3)
    assert fitted.log_likelihood_B[0] == pytest.approx(-found.fun, abs=1e-5)


def test_every_reweighting_is_fitted_as_if_alone() -> None:
    y, censored = sample(1, 7000.0)
    weights = draw_weights([3] * 6, 20, seed=2)
    together = fit_censored(DESIGN, y, censored, weights).coefficients_BP
    alone = np.concatenate(
        [fit_censored(DESIGN, y, censored, row[None]).coefficients_BP for row in weights]
    )
    assert together == pytest.approx(alone, rel=1e-6)


def test_coefficients_that_nothing_identifies_are_nan() -> None:
    y, censored = sample(0, np.inf)
    only_first_cell = np.where(X[0] == X, 1.0, 0.0)[None]
    assert np.isnan(fit_censored(DESIGN, y, censored, only_first_cell).coefficients_BP).all()
    assert np.isnan(fit_censored(DESIGN, y, X[0] < X, np.ones((1, len(y)))).coefficients_BP).all()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_weights_count_cells_alike(replicates: list[int]) -> None:
    each = np.repeat(np.arange(len(replicates)), replicates)
    for weights in (cell_weights(replicates), draw_weights(replicates, 4, seed=0)):
        for row in weights:
            assert np.bincount(each, row) == pytest.approx(
                np.full(len(replicates), np.mean(replicates))
            )


def test_draws_of_two_replicates_have_the_variance_of_their_mean() -> None:
    values = np.array([1.0, 3.0])  # the mean's variance is s^2 / n = 2 / 2
    means = draw_weights([2], 4000, seed=0) @ values / 2
    assert means.var() == pytest.approx(1.0, rel=0.05)


def test_no_spread_to_draw_from_gives_no_interval() -> None:
    weights = draw_weights([1, 1], 10, seed=0)
    assert intervals(np.ones(1), np.ones((10, 1)), weights, [1, 1]) == [None]
    weights = draw_weights([2, 2], 10, seed=0)
    assert intervals(np.ones(1), np.full((10, 1), np.nan), weights, [2, 2]) == [None]


def test_a_mean_of_cells_has_the_interval_of_the_text_book() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, 8)
    weights = draw_weights([8], 20_000, seed=0)
    ((low, high),) = intervals(
        np.array([values.mean()]), (weights @ values / 8)[:, None], weights, [8]
    )
    half = student.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=0.01)
