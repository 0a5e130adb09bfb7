"""Approaches 1 and 2 on rows made from a law whose best split is known."""

import numpy as np
import polars as pl
import pytest
from tests.fit.published import chinchilla, law

from scalelab.core.errors import UserError
from scalelab.fit.compute import split_compute
from scalelab.fit.envelope import envelope
from scalelab.fit.isoflop import groups_of, isoflop, scatter_of
from scalelab.fit.laws import find

TRUE = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
A = 0.28 / 0.62
BUDGETS = np.geomspace(1e18, 1e21, 4)


def best(flops: np.ndarray) -> np.ndarray:
    split = split_compute(
        find("chinchilla"), {name: np.array([value]) for name, value in TRUE.items()}, flops
    )
    assert split is not None
    return split.params_SX[0]


def profiles(
    noise: float, sizes: int = 7, spread: float = 3.0, shift: float = 1.0
) -> tuple[np.ndarray, ...]:
    """Sizes about the best one of each budget, or beside it."""
    params = np.concatenate(
        [shift * size * np.geomspace(1 / spread, spread, sizes) for size in best(BUDGETS)]
    )
    flops = np.repeat(BUDGETS, sizes)
    tokens = flops / 6 / params
    return (
        params,
        tokens,
        flops,
        law(params, tokens) * np.exp(noise * np.random.default_rng(0).normal(size=params.size)),
    )


def test_known_minima_and_exponents_lie_in_their_intervals() -> None:
    found = isoflop(*profiles(noise=0.001))
    assert [budget.interior and budget.determined for budget in found.budgets] == [True] * 4
    for budget, size in zip(found.budgets, best(BUDGETS), strict=True):
        low, high = budget.params.ci95 or (1, 0)
        assert 0.95 * low < size < 1.05 * high
    assert found.params is not None
    assert found.tokens is not None
    low, high = found.params.exponent.ci95 or (1, 0)
    assert low < A < high
    assert found.tokens.exponent.value == pytest.approx(1 - found.params.exponent.value)
    assert found.params.at(BUDGETS) == pytest.approx(best(BUDGETS), rel=0.1)
    assert found.params.draws_at(BUDGETS).shape == (1000, 4)
    assert found.warnings == ()


def test_without_scatter_the_narrower_the_profile_the_smaller_the_bias() -> None:
    wide, narrow = (isoflop(*profiles(noise=0, spread=spread)) for spread in (10.0, 1.5))
    errors = [
        np.abs(
            np.log([budget.params.value for budget in found.budgets]) - np.log(best(BUDGETS))
        ).max()
        for found in (wide, narrow)
    ]
    assert errors[1] < 0.01 < errors[0]


def test_a_minimum_beside_the_sizes_is_not_interior_and_left_out() -> None:
    found = isoflop(*profiles(noise=0.0, shift=20.0))
    assert not any(budget.interior for budget in found.budgets)
    assert found.params is None
    assert [warned.code for warned in found.warnings] == ["minimum_not_interior", "few_budgets"]


def test_a_minimum_lost_in_the_scatter_is_left_out() -> None:
    found = isoflop(*profiles(noise=0.05, spread=1.5))
    assert {warned.code for warned in found.warnings} >= {"few_budgets"}
    assert not any(budget.determined for budget in found.budgets)


def test_budgets_with_few_sizes_are_no_profiles() -> None:
    params, tokens, flops, loss = profiles(noise=0.001, sizes=3)
    found = isoflop(params, tokens, flops, loss)
    assert (found.budgets, found.left_out) == ((), 12)
    assert [warned.code for warned in found.warnings] == ["no_isoflop"]


def test_budgets_are_cut_at_gaps() -> None:
    assert [
        group.tolist() for group in groups_of(np.array([2e18, 1e18, 1.09e18, 1.12e18, 2.1e18]))
    ] == [[1, 2, 3], [0, 4]]
    assert [group.tolist() for group in groups_of(np.array([1.0, 1.111, 1.0]))] == [[0, 2], [1]]
    assert groups_of(np.empty(0)) == []


def test_a_long_run_of_neighbours_is_cut_at_its_widest_gaps() -> None:
    flops = np.cumprod(
        np.array([1e18, 1.05, 1.05, 1.09, 1.05, 1.05, 1.08, 1.05], dtype=np.float64),
        dtype=np.float64,
    )
    assert [group.tolist() for group in groups_of(flops)] == [[0, 1, 2], [3, 4, 5, 6, 7]]


def scattered(
    rng: np.random.Generator, budgets: int, scatter: float, noise: float = 1e-4
) -> tuple[np.ndarray, ...]:
    """Parabolas whose minima lie about C^0.5 with scatter of their own."""
    flops = np.repeat(np.geomspace(1e18, 1e21, budgets), 7)
    minimum = 0.5 * np.log(flops / 6 / 20) + np.repeat(scatter * rng.normal(size=budgets), 7)
    params = np.exp(0.5 * np.log(flops / 6 / 20) + np.tile(np.linspace(-1.1, 1.1, 7), budgets))
    loss = 2 + 0.05 * (np.log(params) - minimum) ** 2 + noise * rng.normal(size=params.size)
    return params, flops / 6 / params, flops, loss


@pytest.mark.parametrize(("budgets", "scatter"), [(4, 0.2), (10, 0.2), (10, 0.0)])
def test_the_interval_covers_the_exponent_as_often_as_it_says(budgets: int, scatter: float) -> None:
    rng, covered = np.random.default_rng(0), 0
    for seed in range(150):
        found = isoflop(*scattered(rng, budgets, scatter), draws=300, seed=seed)
        assert found.params is not None
        assert found.tokens is not None
        low, high = found.params.exponent.ci95 or (1, 0)
        covered += low < 0.5 < high
        # One scatter moves both: 6 N D stays C in every draw.
        assert found.params.draws_B2[:, 1] + found.tokens.draws_B2[:, 1] == pytest.approx(
            np.ones(300)
        )
    assert 0.88 <= covered / 150 <= 0.995


def test_the_error_grows_to_that_of_the_scatter_about_the_line() -> None:
    found = isoflop(*scattered(np.random.default_rng(1), 12, 0.2))
    x = np.log([budget.flops for budget in found.budgets])
    y = np.log([budget.params.value for budget in found.budgets])
    fit, (rest, *_) = np.polyfit(x, y, 1), np.polyfit(x, y, 1, full=True)[1]
    error = np.sqrt(rest / 10 / ((x - x.mean()) ** 2).sum())
    assert found.params is not None
    assert found.params.exponent.value == pytest.approx(fit[0])
    assert found.params.exponent.se is not None
    assert error < found.params.exponent.se < 1.3 * error
    assert found.scatter == pytest.approx(np.sqrt(rest / 10), rel=0.05)


def test_minima_on_the_line_or_too_few_have_no_scatter() -> None:
    x, draws = np.arange(4.0), 0.1 * np.random.default_rng(0).normal(size=(200, 4))
    assert scatter_of(x, 0.5 * x, 0.5 * x + draws) == 0
    assert scatter_of(x[:2], x[:2] ** 2, draws[:, :2]) == 0
    assert scatter_of(x, np.array([0.0, 2.0, 0.0, 2.0]), draws) > 0.5


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second = (isoflop(*profiles(noise=0.001), seed=3) for _ in range(2))
    assert first.params is not None
    assert second.params is not None
    assert first.params.draws_B2.tolist() == second.params.draws_B2.tolist()


def test_approach_2_on_the_public_table_agrees_with_approach_3() -> None:
    frame = chinchilla()
    params, flops = (
        frame["params.total"].cast(pl.Float64).to_numpy(),
        frame["budget.flops"].cast(pl.Float64).to_numpy(),
    )
    found = isoflop(params, flops / 6 / params, flops, frame["metrics.loss"].to_numpy())
    assert found.params is not None
    low, high = found.params.exponent.ci95 or (1, 0)
    assert low < 0.513 < high


def curves(noise: float = 0.0) -> pl.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for number, params in enumerate(np.geomspace(1e7, 1e9, 9)):
        flops = np.geomspace(1e16, 1e20, 200)
        tokens = flops / 6 / params
        loss = law(np.full(200, params), tokens) * np.exp(noise * rng.normal(size=200))
        rows.append(
            pl.DataFrame(
                {
                    "digest": [f"d{number}"] * 200,
                    "params": [params] * 200,
                    "tokens": tokens,
                    "flops": flops,
                    "loss": loss,
                }
            )
        )
    return pl.concat(rows)


def test_the_envelope_follows_the_best_sizes() -> None:
    found = envelope(curves(), draws=50)
    inside = (best(found.flops_X) > 2e7) & (best(found.flops_X) < 5e8)
    assert inside.sum() > 500
    # The sizes are a factor 1.78 apart.
    assert (
        np.abs(np.log(found.params_X[inside] / best(found.flops_X)[inside])) < 0.5 * np.log(1.8)
    ).all()
    assert found.tokens_X * found.params_X * 6 == pytest.approx(found.flops_X)
    assert found.params is not None
    assert found.params.exponent.value == pytest.approx(A, abs=0.05)
    assert found.params.exponent.ci95 is not None
    assert found.warnings == ()
    assert set(found.digests) <= {f"d{number}" for number in range(9)}


def test_an_envelope_needs_curves_of_two_sizes() -> None:
    for frame in (
        curves().filter(pl.col("digest") == "d0"),
        curves().clear(),
        curves().group_by("digest").first(),
    ):
        found = envelope(frame, draws=10)
        assert found.flops_X.size == 0
        assert [warned.code for warned in found.warnings] == ["no_envelope"]


def test_points_without_a_loss_are_left_out() -> None:
    broken = curves().with_columns(
        pl.when(pl.col("flops") > 1e19).then(float("nan")).otherwise(pl.col("loss")).alias("loss")
    )
    assert envelope(broken, draws=5).flops_X.max() <= 1.0001e19


def test_a_missing_column_is_a_sentence() -> None:
    with pytest.raises(UserError, match="the curves have no column `tokens`"):
        envelope(curves().drop("tokens"))
