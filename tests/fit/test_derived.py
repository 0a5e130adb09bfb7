"""Numbers that follow from a law: in closed form, by search, and against one another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fit.published import grid

from scalelab.fit.compute import split_compute, terms_of
from scalelab.fit.derived import derive
from scalelab.fit.estimate import estimate
from scalelab.fit.law import Choices, apply
from scalelab.fit.laws import find
from scalelab.fit.sample import sample

LAW = find("chinchilla")
SEARCHED = find("E + A*N^-alpha + exp(log(B) - beta*log(D))")
"""The same law, in a form that has no closed form here."""


def one(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array([value]) for name, value in values.items()}


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.1, 1), st.floats(0.1, 1), st.floats(1, 1e4), st.floats(1, 1e4), st.floats(18, 26)
)
def test_search_and_closed_form_agree(
    alpha: float, beta: float, a: float, b: float, log_flops: float
) -> None:
    sets, flops_X = one(E=1.7, A=a, B=b, alpha=alpha, beta=beta), np.array([10.0**log_flops])
    closed, searched = split_compute(LAW, sets, flops_X), split_compute(SEARCHED, sets, flops_X)
    assert closed is not None
    assert searched is not None
    if np.isfinite(searched.params_SX).all():
        # Where the powers are a billionth of E, rounding hides the minimum's place, and not its
        # height.
        assert searched.params_SX == pytest.approx(closed.params_SX, rel=1e-2)
        assert searched.loss_SX == pytest.approx(closed.loss_SX, rel=1e-12)
    else:
        assert not 1 < closed.params_SX[0, 0] < flops_X[0] / 6


def test_the_split_is_the_least_along_its_budget() -> None:
    split = split_compute(
        LAW, one(E=1.8172, A=477.84, B=2143.86, alpha=0.34731, beta=0.36718), np.array([1e21])
    )
    assert split is not None
    params = split.params_SX[0, 0] * np.array([0.99, 1.01])
    assert (
        1.8172 + 477.84 * params**-0.34731 + 2143.86 * (1e21 / 6 / params) ** -0.36718
        > split.loss_SX[0, 0]
    ).all()


def test_a_term_that_rises_with_size_has_no_best_split() -> None:
    for law in (LAW, SEARCHED):
        split = split_compute(
            law, one(E=1.7, A=400.0, B=410.0, alpha=-0.3, beta=0.28), np.array([1e21])
        )
        assert split is not None
        assert np.isnan([split.params_SX, split.tokens_SX, split.loss_SX]).all()


@pytest.mark.parametrize(
    "text", ["E + A*N^-alpha + B*D^-beta", "A/N^alpha + B/D^beta", "B*D^-beta + E + A*N^-alpha"]
)
def test_the_closed_form_is_found_however_it_is_written(text: str) -> None:
    terms = terms_of(find(text))
    assert terms is not None
    assert (terms.a, terms.alpha, terms.b, terms.beta) == ("A", "alpha", "B", "beta")


@pytest.mark.parametrize(
    "text",
    [
        "E + A*N^-alpha*D^-beta",
        "E + A*N^-alpha",
        "E + A*N^-alpha + B*D^-alpha",
        "overtraining",
        "kaplan",
    ],
)
def test_other_laws_have_no_closed_form(text: str) -> None:
    assert terms_of(find(text)) is None


def test_laws_of_a_tied_exponent_split_evenly() -> None:
    rows = sample(grid(), LAW)
    tied = apply(LAW, Choices(tie={"beta": "alpha"}))
    found = derive(tied, rows, one(E=1.7, A=400.0, B=400.0, alpha=0.3, beta=0.3), np.zeros(3))
    assert (found["a"].value, found["G"].value) == pytest.approx((0.5, 1.0))


def test_without_draws_there_are_values_and_no_intervals() -> None:
    found = derive(
        LAW, sample(grid(), LAW), one(E=1.7, A=400.0, B=410.0, alpha=0.34, beta=0.28), np.zeros(3)
    )
    assert found["a"].value == pytest.approx(0.28 / 0.62)
    assert all(value.ci95 is None and value.se is None for value in found.values())


def test_a_law_of_one_size_is_asked_ten_times_beyond() -> None:
    law = find("power_offset")
    assert list(derive(law, sample(grid(), law), one(E=1.7, A=400.0, alpha=0.34), np.zeros(3))) == [
        "loss(N=1e+11)"
    ]


def test_intervals_are_those_of_the_draws() -> None:
    draws_B = np.random.default_rng(0).normal(3, 0.5, 4000)
    found = estimate(3.0, draws_B, draws_B + 0.1, stretch=2.0)
    assert found.se == pytest.approx(0.25, rel=0.05)
    assert found.ci95 == pytest.approx(np.quantile(draws_B, (0.025, 0.975)))
    assert found.prediction95 == pytest.approx(np.quantile(draws_B + 0.1, (0.025, 0.975)))


def test_few_draws_or_few_finite_ones_make_no_interval() -> None:
    assert estimate(1.0, np.ones(39)).ci95 is None
    assert estimate(1.0, np.where(np.arange(100) < 15, np.nan, 1.0)).ci95 is None
    assert estimate(1.0, np.where(np.arange(100) < 5, np.nan, 1.0)).ci95 == (1.0, 1.0)
