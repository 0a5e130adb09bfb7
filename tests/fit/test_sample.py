"""Which rows a law is fitted to, and which can't be."""

import numpy as np
import polars as pl
import pytest
from tests.fit.published import grid, trials

from scalelab.core.errors import UserError
from scalelab.fit.laws import find
from scalelab.fit.sample import sample

LAW = find("chinchilla")
N, D, L = (
    np.array([1e7, 3e7, 1e8, 3e8, 1e9, 3e9]),
    np.array([1e9, 1e10, 2e9, 3e10, 1e9, 4e9]),
    np.array([4.0, 3.5, 3.3, 2.9, 2.8, 2.5]),
)


def table(**changed: object) -> pl.DataFrame:
    columns = {"params.total": N, "budget.tokens": D, "metrics.loss": L} | {
        name.replace("__", "."): value for name, value in changed.items() if value is not None
    }
    missing = [name.replace("__", ".") for name, value in changed.items() if value is None]
    return trials({name: values for name, values in columns.items() if name not in missing})  # pyright: ignore


def test_columns_are_float64_so_that_6nd_does_not_overflow() -> None:
    frame = table(
        params__total=(N * 1e3).astype(np.int64), budget__tokens=(D * 1e6).astype(np.int64)
    )
    found = sample(frame, LAW)
    assert (6 * found.columns["N"] * found.columns["D"]).tolist() == pytest.approx(
        (6e9 * N * D).tolist()
    )
    assert found.columns["N"].dtype == np.float64


def test_tokens_come_from_flops_where_a_table_has_no_tokens() -> None:
    found = sample(table(budget__tokens=None, budget__flops=6 * N * D), LAW)
    assert found.columns["D"] == pytest.approx(D)
    assert found.notes == ("tokens = budget.flops / (6 params.total)",)


def test_flops_come_from_tokens() -> None:
    found = sample(table(), find("E + A*C^-alpha"))
    assert found.columns["C"] == pytest.approx(6 * N * D)


def test_a_stopped_trial_counts_with_what_it_ran() -> None:
    states = ["done", "stopped", "stopped", "done", "done", "done"]
    found = sample(table(state=states, step=[10, 5, 2, 10, 10, 10], steps=[10] * 6), LAW)
    assert (found.columns["D"] / D).tolist() == [1, 0.5, 0.2, 1, 1, 1]
    assert found.states.count("stopped") == 2


def test_what_has_no_result_is_dropped_and_counted() -> None:
    more = {"state": ["done"] * 6 + ["diverged", "failed", "queued", "missing", "done"]}
    columns = {
        "params.total": [*N, *N[:5]],
        "budget.tokens": [*D, *D[:5]],
        "metrics.loss": [*L, np.nan, None, None, None, None],
    }
    found = sample(trials(columns, **more), LAW)
    assert (len(found.y_N), found.rows) == (6, 11)
    assert found.dropped == {
        "diverged": 1,
        "failed": 1,
        "unfinished": 2,
        "without `metrics.loss`": 1,
    }


def test_rows_of_one_configuration_are_one_cluster() -> None:
    found = sample(table(configuration=["a", "b", "a", "c", "d", "e"]), LAW)
    assert found.cluster_N.tolist() == [0, 1, 0, 2, 3, 4]
    assert found.configurations == 5


def test_without_configurations_equal_predictors_are_one_cluster() -> None:
    frame = pl.concat([grid(seed=0), grid(seed=1)]).drop("configuration")
    assert sample(frame, LAW).configurations == 24


def test_the_fingerprint_is_that_of_the_values() -> None:
    first, second = sample(table(), LAW), sample(table(metrics__loss=L + 1e-15 * (L == 4)), LAW)
    assert first.fingerprint() == sample(table(), LAW).fingerprint() != second.fingerprint()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (table().clear(), "there are no rows to fit"),
        (table().head(1), "there is one row"),
        (table().head(4), "`chinchilla` has 5 coefficients, and there are 4 rows; fix or tie some"),
        (
            table(params__total=None, params__totl=N),
            r"no column `params.total`; did you mean `params.totl`",
        ),
        (
            table(budget__tokens=None),
            (
                r"no column `budget.tokens`, and no `budget.flops` with `params.total` to compute"
                r" it from"
            ),
        ),
        (
            table(metrics__loss=["a", "1", "2", "3", "4", "5"]),
            "`metrics.loss` is no column of numbers: it holds 'a'",
        ),
        (table(metrics__loss=L * [1, 1, np.nan, 1, 1, 1]), "`metrics.loss` is nan in a row"),
        (
            table(metrics__loss=L * [1, 1, 0, 1, 1, 1]),
            "`metrics.loss` is 0 in a row, and its logarithm is taken; .* --residual linear",
        ),
        (table(metrics__loss=-L), "`metrics.loss` is -4"),
        (table(params__total=-N), "`params.total` is -1e.07 in a row, and a power of it is taken"),
        (table(params__total=0 * N + 5), r"every row has the same `params.total` \(5\)"),
        (table(metrics__loss=0 * N + 5), r"every row has the same `metrics.loss` \(5\)"),
        (table(state=["diverged"] * 5 + ["failed"]), "no row has a result: 5 diverged, 1 failed"),
        (table(metrics__loss=[None] * 6), "no column `metrics.loss`"),
    ],
)
def test_rows_that_cannot_be_fitted_are_a_sentence(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(UserError, match=says):
        sample(frame, LAW)


def test_a_column_of_which_no_power_is_taken_may_be_zero() -> None:
    law = find("moe_sparsity")
    frame = pl.concat([table(), table(metrics__loss=L + 0.1)]).with_columns(
        pl.Series("extra.sparsity", [0.0, 0.5] * 6)
    )
    assert sample(frame, law).columns["S"].min() == 0
    with pytest.raises(UserError, match=r"`extra\.sparsity` is 1 in a row"):
        sample(frame.with_columns(pl.Series("extra.sparsity", [0.0, 1.0] * 6)), law)


def test_a_law_without_columns_is_a_sentence() -> None:
    with pytest.raises(
        UserError,
        match=(
            r"`power-offset` has coefficients only \(power, offset\); .*did you mean `power_offset`"
        ),
    ):
        sample(table(), find("power-offset"))
