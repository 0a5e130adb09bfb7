"""Fits as a whole: the public figures, known coefficients, intervals, and what a store keeps of
them.
"""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fit.published import FITTED, HELD_OUT, TRUE, chinchilla, gadre, grid, trials

from scalelab.core.errors import UserError
from scalelab.fit.fit import Fit, fit_key, fit_law
from scalelab.fit.kept import refit, restore, to_store
from scalelab.fit.law import Choices, Loss
from scalelab.fit.laws import LAWS, find
from scalelab.fit.matching import matching
from scalelab.fit.problem import Problem
from scalelab.fit.sample import sample
from scalelab.store.fits import packed, unpacked

LAW = find("chinchilla")


@pytest.fixture(scope="module")
def epoch() -> Fit:
    """Besiroglu et al.'s 240 rows, 400 refits."""
    return fit_law(
        chinchilla(), LAW, bootstrap=400, at=[{"flops": 5.88e23}, {"N": 7e10, "D": 1.4e12}]
    )


@pytest.fixture(scope="module")
def made() -> Fit:
    """Rows made from a known law."""
    return fit_law(grid(), LAW, bootstrap=200)


def test_chinchilla_reaches_the_published_optimum(epoch: Fit) -> None:
    assert epoch.optimum.objective <= 0.0010182750
    found = {name: round(epoch.coefficients[name], 4) for name in ("alpha", "beta", "E")}
    assert found == {"alpha": 0.3473, "beta": 0.3672, "E": 1.8172}
    assert epoch.optimum.at_best >= 0.95 * epoch.optimum.tried
    assert epoch.cross_check is not None
    assert epoch.cross_check.objective == pytest.approx(epoch.optimum.objective, rel=1e-6)


def test_chinchilla_has_the_published_errors(epoch: Fit) -> None:
    # 400 draws know a standard error to 4 %.
    assert epoch.estimates["alpha"].se == pytest.approx(0.0154, rel=0.15)
    assert epoch.estimates["beta"].se == pytest.approx(0.0206, rel=0.15)
    assert epoch.derived["a"].value == pytest.approx(0.513, abs=0.002)
    assert epoch.derived["a"].se == pytest.approx(0.020, rel=0.15)


def test_chinchilla_at_a_named_budget(epoch: Fit) -> None:
    # Gopher's budget: with the published, rounded coefficients it is 18.2, with Hoffmann et al.'s
    # own 59.
    assert epoch.derived["D/N(5.88e+23)"].value == pytest.approx(17.91, abs=0.01)
    assert epoch.derived["loss(N=7e+10, D=1.4e+12)"].value == pytest.approx(
        float(epoch.predict({"N": np.array([7e10]), "D": np.array([1.4e12])})[0])
    )
    split = [epoch.derived[f"{name}(5.88e+23)"].value for name in ("N*", "D*")]
    assert 6 * split[0] * split[1] == pytest.approx(5.88e23)


def test_its_warnings_have_codes(epoch: Fit) -> None:
    assert [warned.code for warned in epoch.warnings] == [
        "near_duplicates",
        "one_per_configuration",
        "extrapolation",
    ]


def test_known_coefficients_lie_in_their_intervals(made: Fit) -> None:
    for name, value in TRUE.items():
        low, high = made.estimates[name].ci95 or (1, 0)
        assert low < value < high, name


def test_the_interval_of_a_run_is_wider_than_that_of_the_mean(made: Fit) -> None:
    places = {"N": np.array([1e8, 1e11]), "D": np.array([1e10, 1e13])}
    mean_X, runs_X = (
        np.ptp(np.quantile(drawn, (0.025, 0.975), axis=0), axis=0)
        for drawn in (made.predict_draws(places), made.predict_runs(places))
    )
    assert (runs_X > 1.2 * mean_X).all()
    assert made.predict_draws(places).shape == (200, 2)
    # 95 % of the rows' own scatter of 0.3 % is about 1.2 % of the loss from end to end.
    assert runs_X[0] / made.predict(places)[0] == pytest.approx(0.0118, rel=0.35)


def test_residuals_are_actual_over_predicted(made: Fit) -> None:
    predicted_N = made.predict(made.sample.columns)
    assert made.residuals() == pytest.approx(np.log(made.sample.y_N / predicted_N))


def test_the_answer_is_json_with_every_part(epoch: Fit) -> None:
    plain = json.loads(json.dumps(epoch.to_json(), allow_nan=False))
    assert set(plain) >= {
        "law",
        "coefficients",
        "objective",
        "starts",
        "derived",
        "warnings",
        "record",
    }
    assert set(plain["coefficients"]) == {"A", "B", "E", "alpha", "beta"}
    assert set(plain["coefficients"]["A"]) == {"value", "se", "ci95"}
    assert plain["starts"]["tried"] == 500
    assert plain["record"]["law"]["loss"] == "huber:0.001"
    assert plain["record"]["rows"] | {"fingerprint": ""} == {
        "given": 240,
        "used": 240,
        "configurations": 240,
        "dropped": {},
        "fingerprint": "",
    }
    assert plain["record"]["conventions"] == [
        "C = 6 N D",
        "tokens = budget.flops / (6 params.total)",
    ]


def test_choices_are_in_the_record_and_in_the_fit() -> None:
    choices = Choices(
        tie={"beta": "alpha"}, fix={"E": 1.7}, loss=Loss("squared"), residual="linear", starts=50
    )
    fitted = fit_law(grid(), LAW, choices, bootstrap=50)
    assert fitted.coefficients["beta"] == fitted.coefficients["alpha"]
    assert (fitted.coefficients["E"], fitted.estimates["E"].ci95) == (1.7, None)
    assert fitted.estimates["beta"].ci95 == fitted.estimates["alpha"].ci95 != None  # noqa: E711
    law = fitted.record["law"]
    assert (law["fixed"], law["tied"], law["loss"], law["residual"]) == (
        {"E": 1.7},
        {"beta": "alpha"},
        "squared",
        "linear",
    )


def test_few_configurations_get_a_wild_bootstrap_and_say_so() -> None:
    fitted = fit_law(grid(sizes=3, lengths=3), LAW, Choices(starts=50), bootstrap=100)
    assert fitted.draws is not None
    assert fitted.draws.kind == fitted.record["bootstrap"]["kind"] == "wild"
    assert "small_design" in [warned.code for warned in fitted.warnings]


def test_as_many_coefficients_as_configurations_have_no_interval() -> None:
    frame = pl.concat([grid(seed=seed).gather([0, 5, 10, 15, 22]) for seed in range(3)])
    fitted = fit_law(frame, LAW, Choices(starts=50), bootstrap=100)
    assert fitted.draws is None
    assert all(
        found.ci95 is None for found in [*fitted.estimates.values(), *fitted.derived.values()]
    )
    assert "few_configurations" in [warned.code for warned in fitted.warnings]


def test_rows_without_scatter_are_met_and_said_to_be() -> None:
    fitted = fit_law(grid(noise=0), LAW, Choices(starts=50), bootstrap=0)
    assert fitted.coefficients == pytest.approx(TRUE, rel=1e-6)
    codes = [warned.code for warned in fitted.warnings]
    assert "no_scatter" in codes
    assert not {"not_identified", "projection_disagrees"} & set(codes)


def test_the_errors_of_gadre_et_al_come_out() -> None:
    frame = gadre()
    rows = frame.filter(
        pl.Series(matching(frame, f"extra.dataset == rpj and ({FITTED} or {HELD_OUT})"))
    )
    fitted = fit_law(rows, find("overtraining"), Choices(starts=50), bootstrap=0, holdout=HELD_OUT)
    assert fitted.holdout is not None
    [fold] = fitted.holdout.folds
    assert [round(100 * error, 4) for error in fold.error_T] == [0.7103, 0.7320]
    assert fold.coefficients == pytest.approx(
        {"E": 1.8366, "a": 212.24, "b": 366.69, "eta": 0.1364}, rel=1e-3
    )


def test_what_is_asked_wrongly_is_said_before_the_work_begins() -> None:
    def never(what: str, done: int, count: int) -> None:
        raise AssertionError

    for wrong, says in (
        ({"at": [{"N": 1e9}]}, "leaves out `D`; write it like --at N=1e9,D=1e9"),
        ({"at": [{"flops": -1.0}]}, "is not positive"),
        ({"at": [{"M": 1e9, "D": 1.0}]}, "has no column `M`"),
        ({"holdout": "largest_param"}, "no rollout `largest_param`; did you mean `largest_params`"),
        ({"holdout": "params.total > 1e30"}, "no row matches the hold-out filter"),
        ({"holdout": "params.total > 1"}, "every row matches"),
        ({"holdout": "params.total > 1e7"}, "4 rows are left to fit the 5 coefficients"),
    ):
        with pytest.raises(UserError, match=says):
            fit_law(grid(), LAW, tell=never, **wrong)  # pyright: ignore


def test_a_stored_fit_comes_back_without_fitting(made: Fit) -> None:
    stored = to_store(made, "grid", 1.0)
    through = replace(
        stored,
        record=json.loads(json.dumps(stored.record)),
        result=json.loads(json.dumps(stored.result, allow_nan=False)),
    )
    again = restore(replace(through, draws=unpacked(packed(stored.draws))), grid())
    assert again is not None
    assert again.to_json() == made.to_json()
    assert again.optimum.objectives_S.tolist() == made.optimum.objectives_S.tolist()
    assert again.key == made.key
    assert restore(replace(stored, record={**stored.record, "engine": 0}), grid()) is None
    assert restore(stored, grid(seed=1)) is None
    assert restore(stored, grid().head(1)) is None


@pytest.mark.parametrize("holdout", [None, "largest_params"])
def test_a_stored_fit_is_made_again_with_its_law_and_choices(holdout: str | None) -> None:
    choices = Choices(starts=20, seed=3, fix={"alpha": 0.34}, residual="linear")
    made = fit_law(
        grid(),
        LAW,
        choices,
        bootstrap=30,
        holdout=holdout,
        at=[{"flops": 1e20}],
        about={"source": {"filter": None}},
    )
    stored = to_store(made, "grid", 1.0)
    again = refit(replace(stored, record={**stored.record, "engine": 0}), grid())
    assert again.to_json() == made.to_json()
    assert again.key == made.key


def test_the_key_is_that_of_rows_law_starts_and_draws() -> None:
    rows = sample(grid(), LAW)
    keys = [
        fit_key(LAW, Choices(), rows, 200),
        fit_key(LAW, Choices(starts=20), rows, 200),
        fit_key(LAW, Choices(seed=1), rows, 200),
        fit_key(LAW, Choices(), rows, 100),
        fit_key(replace(LAW, residual="linear"), Choices(), rows, 200),
        fit_key(LAW, Choices(), sample(grid(seed=1), LAW), 200),
    ]
    assert len(set(keys)) == len(keys)
    assert fit_key(LAW, Choices(), sample(grid(), LAW), 200) == keys[0]


def repeated(seed: int) -> pl.DataFrame:
    """60 runs of 1 to 4 epochs with a noise of 1 %, under the published law with R = 15.4."""
    rng = np.random.default_rng(seed)
    params, unique = 10 ** rng.uniform(7, 9.5, 60), 10 ** rng.uniform(8.5, 10.5, 60)
    places = {"N": params, "D": unique * rng.integers(1, 5, 60), "U": unique}
    loss = Problem.of(LAWS["data_constrained"], places, np.ones(60)).predict(REPEATED)
    named = {LAWS["data_constrained"].columns[symbol]: x_N for symbol, x_N in places.items()}
    return trials({**named, "metrics.loss": loss * np.exp(0.01 * rng.normal(size=60))})


REPEATED = {"E": 1.87, "A": 521, "alpha": 0.353, "B": 1488, "R": 15.4, "beta": 0.353}


@pytest.mark.parametrize("seed", range(5))
def test_a_scale_goes_no_further_than_the_rows_tell(seed: int) -> None:
    """Three repetitions at most: beyond R = 60 they lose less than 2.5 % of their worth."""
    law = LAWS["data_constrained"]
    fitted = fit_law(repeated(seed), law, Choices(starts=5), bootstrap=60)
    low, high = fitted.estimates["R"].ci95 or (0.0, 0.0)
    assert low <= fitted.coefficients["R"] <= high <= 60 * (1 + 1e-9)
    assert low < 15.4 < high
    said = [warned.text for warned in fitted.warnings if "do not tell `R` above 60" in warned.text]
    assert bool(said) == (high > 59.99)
    lower, upper = fitted.profiles["R"].ends
    assert lower is not None
    assert upper is None or upper < 60


def test_bounds_of_ones_own_take_the_place_of_what_the_rows_tell() -> None:
    law = LAWS["data_constrained"]
    fitted = fit_law(
        repeated(3), law, Choices(starts=5, bounds={"R": (0.0, float("inf"))}), bootstrap=0
    )
    assert 60 < fitted.coefficients["R"] < 100
