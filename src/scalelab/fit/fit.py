"""A law fitted to a table: coefficients and what follows from them with intervals, warnings, and
the record of how it was done.

Shape letters: N rows, B draws, X places where the law is asked, K coefficients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from scalelab.core.canon import sha256
from scalelab.fit import checks
from scalelab.fit.bootstrap import FEW, Draws, bootstrap, wild
from scalelab.fit.censored import Floats
from scalelab.fit.derived import At, budgets_of, check_places, derive, with_errors
from scalelab.fit.estimate import Estimate, estimate
from scalelab.fit.holdout import Holdout, hold_out
from scalelab.fit.law import Choices, Law, apply
from scalelab.fit.optimum import SAME, Optimum, optimise, resume
from scalelab.fit.problem import Problem
from scalelab.fit.profile import Profile, profile
from scalelab.fit.projection import CrossCheck, cross_check
from scalelab.fit.sample import Sample, sample
from scalelab.fit.warned import Warned

ENGINE = 2
"""Raised when the same rows and choices give other numbers: fits that a store keeps of an older
engine are then fitted again where they are drawn.
"""

DRAWS = 4000

_RESTARTS = 5
"""How often a lower objective that a profile finds is gone on from."""

Tell = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True)
class Fit:
    """A fitted law. `law` is as fitted: the choices are in it already."""

    law: Law
    choices: Choices
    sample: Sample
    problem: Problem
    optimum: Optimum
    draws: Draws | None
    """None where nothing was drawn: no draws were asked for, or the law meets every configuration
    exactly.
    """
    estimates: Mapping[str, Estimate]
    """Coefficient -> value, error, interval; fixed and tied ones too."""
    derived: Mapping[str, Estimate]
    """What follows from the coefficients, from the same draws (see `derived.derive`)."""
    warnings: tuple[Warned, ...]
    profiles: Mapping[str, Profile]
    holdout: Holdout | None
    cross_check: CrossCheck | None
    record: Mapping[str, Any]
    """How it was done."""
    key: str
    """Digest of all that decides the coefficients and their draws: the law as fitted, the starts,
    the seed, the rows.
    """

    @property
    def coefficients(self) -> dict[str, float]:
        """Coefficient -> value."""
        return self.optimum.coefficients

    def sets(self) -> dict[str, Floats]:
        """Coefficient -> [1 + B]: the estimate, then every draw."""
        drawn = self.draws.by_name if self.draws is not None else {}
        return {
            name: np.append(value, drawn.get(name, np.empty(0)))
            for name, value in self.coefficients.items()
        }

    def predict(self, columns: Mapping[str, Floats]) -> Floats:
        """The law's value [X] at these columns, by the symbols of the law (`{"N": ...,
        "D": ...}`).
        """
        return self.problem.predict(self.coefficients, columns)

    def predict_draws(self, columns: Mapping[str, Floats]) -> Floats:
        """The law's value [B, X] in every draw: their quantiles are the interval of the mean.

        [0, X] without draws.
        """
        if self.draws is None:
            return np.empty((0, self.predict(columns).size))
        return self.problem.predict(self.draws.by_name, columns)

    def predict_runs(self, columns: Mapping[str, Floats]) -> Floats:
        """[B, X] what one more run would show in every draw, an error of the rows added: their
        quantiles are the prediction interval.
        """
        return with_errors(self.law, self.errors(), self.predict_draws(columns), self.choices.seed)

    def residuals(self) -> Floats:
        """[N] log(actual / predicted), or actual - predicted where the residual is linear."""
        return -self.problem.residuals(self.coefficients)

    def errors(self) -> Floats:
        """[N] residuals, widened for the coefficients that were fitted to them."""
        residual_N = self.residuals()
        return residual_N * np.sqrt(residual_N.size / max(1, residual_N.size - len(self.law.free)))

    def to_json(self) -> dict[str, Any]:
        """As `scalelab fit --json` prints it."""
        plain = {
            "law": self.law.name,
            "formula": self.law.formula,
            "coefficients": {name: found.to_json() for name, found in self.estimates.items()},
            "objective": self.optimum.objective,
            "starts": {
                "tried": self.optimum.tried,
                "at_best": self.optimum.at_best,
                "share": self.optimum.at_best / self.optimum.tried,
            },
            "derived": {name: found.to_json() for name, found in self.derived.items()},
            "profiles": {
                name: {"ci95": list(found.ci95) if found.ci95 else None, "ends": list(found.ends)}
                for name, found in self.profiles.items()
            },
            "warnings": [warned.to_json() for warned in self.warnings],
            "record": dict(self.record),
        }
        return plain if self.holdout is None else plain | {"holdout": self.holdout.to_json()}


@np.errstate(all="ignore")  # what overflows is no optimum, and a sentence says so
def fit_law(
    frame: pl.DataFrame,
    law: Law,
    choices: Choices | None = None,
    *,
    bootstrap: int = DRAWS,
    holdout: str | None = None,
    at: Sequence[At] = (),
    about: Mapping[str, Any] | None = None,
    tell: Tell | None = None,
) -> Fit:
    """Fit a law to the rows of a frame of trials (`store.frames.trials`).

    `bootstrap` is the number of refits (0: no intervals), `holdout` a rollout or a filter (see
    `holdout`), `at` places where the law is asked (see `derived`), `about` what the caller adds to
    the record. Raises UserError where the rows can't be fitted.
    """
    choices = choices or Choices()
    applied = apply(law, choices)
    rows = sample(frame, applied)
    check_places(applied, at)
    held = None if holdout is None else hold_out(frame, applied, choices, rows, holdout)
    problem = Problem.of(applied, rows.columns, rows.y_N, rows.weight_N)
    optimum = optimise(problem, choices, _part(tell, "starts", choices.starts))
    optimum, profiles = _profiled(problem, optimum, rows, choices.seed)
    draws = _draws(
        problem, optimum, rows, bootstrap, choices.seed, _part(tell, "refits", bootstrap)
    )
    return complete(
        applied,
        choices,
        rows,
        optimum,
        draws,
        bootstrap,
        profiles,
        holdout=held,
        at=at,
        about=about,
    )


def _profiled(
    problem: Problem, optimum: Optimum, rows: Sample, seed: int
) -> tuple[Optimum, dict[str, Profile]]:
    """The profile of every free coefficient, and the optimum: where a profile finds a lower
    objective, the search goes on from there.
    """
    profiles = _profiles(problem, optimum, rows)
    for _ in range(_RESTARTS):
        lowest = min(profiles.values(), key=lambda found: found.objective, default=None)
        if lowest is None or lowest.objective >= optimum.objective * (1 - SAME):
            break
        optimum = resume(problem, optimum, lowest.lowest, seed)
        profiles = _profiles(problem, optimum, rows)
    return optimum, profiles


def _profiles(problem: Problem, optimum: Optimum, rows: Sample) -> dict[str, Profile]:
    """None where the law meets the rows exactly: there is no noise to hold a profile against."""
    exact = rows.configurations <= len(problem.names) or optimum.objective <= problem.negligible
    return {name: profile(problem, optimum, name) for name in problem.names if not exact}


def _part(tell: Tell | None, what: str, count: int | str) -> Callable[[int], None] | None:
    return None if tell is None or isinstance(count, str) else lambda done: tell(what, done, count)


def _draws(
    problem: Problem,
    optimum: Optimum,
    rows: Sample,
    count: int,
    seed: int,
    tell: Callable[[int], None] | None,
) -> Draws | None:
    """Refits of resampled configurations; of few of them, refits to wild residuals."""
    if count < 1 or not problem.names or rows.configurations <= len(problem.names):
        return None
    resample = bootstrap if rows.configurations >= FEW else wild
    return resample(problem, optimum, rows.cluster_N, count, seed, tell)


def complete(
    law: Law,
    choices: Choices,
    rows: Sample,
    optimum: Optimum,
    draws: Draws | None,
    asked: int,
    profiles: Mapping[str, Profile] | None = None,
    *,
    holdout: Holdout | None = None,
    at: Sequence[At] = (),
    about: Mapping[str, Any] | None = None,
) -> Fit:
    """Everything that follows from an optimum and its draws, which took the time."""
    problem = Problem.of(law, rows.columns, rows.y_N, rows.weight_N)
    estimates = {
        name: Estimate(value)
        if draws is None or name in law.fixed
        else estimate(value, draws[name], stretch=draws.stretch)
        for name, value in optimum.coefficients.items()
    }
    profiles = _profiles(problem, optimum, rows) if profiles is None else profiles
    check = cross_check(problem) if problem.names else None
    bare = Fit(
        law,
        choices,
        rows,
        problem,
        optimum,
        draws,
        estimates,
        {},
        (),
        profiles,
        holdout,
        check,
        {},
        "",
    )
    stretch = draws.stretch if draws is not None else 1.0
    derived = derive(
        law, rows, bare.sets(), bare.errors(), at=at, seed=choices.seed, stretch=stretch
    )
    warnings = (
        *checks.sample_warnings(law, rows),
        *checks.optimum_warnings(problem, optimum, check),
        *checks.identity_warnings(problem, optimum, estimates, profiles),
        *checks.draws_warnings(draws, asked),
        *checks.reach_warnings(
            law,
            rows,
            [*budgets_of(law, rows), *(place["flops"] for place in at if set(place) == {"flops"})],
        ),
    )
    key = fit_key(law, choices, rows, asked)
    record = _record(bare, asked, at, key) | dict(about or {})
    return Fit(
        law,
        choices,
        rows,
        problem,
        optimum,
        draws,
        estimates,
        derived,
        warnings,
        profiles,
        holdout,
        check,
        record,
        key,
    )


def fit_key(law: Law, choices: Choices, rows: Sample, draws: int) -> str:
    """The digest of all that decides the coefficients and their draws."""
    return sha256([ENGINE, law.to_json(), choices.starts, choices.seed, draws, rows.fingerprint()])


def _record(fit: Fit, asked: int, at: Sequence[At], key: str) -> dict[str, Any]:
    """How the fit was done, in plain values."""
    rows, optimum, draws = fit.sample, fit.optimum, fit.draws
    return {
        "key": key,
        "engine": ENGINE,
        "law": fit.law.to_json(),
        "reduction": "sum",
        "starts": fit.choices.starts,
        "seed": fit.choices.seed,
        "box": optimum.box,
        "gradient_norm": optimum.gradient_norm,
        "moved": optimum.moved,
        "at_bounds": list(optimum.at_bounds),
        "cross_check": (
            None if fit.cross_check is None else {"objective": fit.cross_check.objective}
        ),
        "rows": {
            "given": rows.rows,
            "used": len(rows.digests),
            "configurations": rows.configurations,
            "dropped": dict(rows.dropped),
            "fingerprint": rows.fingerprint(),
        },
        "bootstrap": {
            "asked": asked,
            "draws": 0 if draws is None else len(draws.values_BK),
            "kind": None if draws is None else draws.kind,
            "clusters": rows.configurations,
            "interval": "percentiles",
        },
        "profile_noise": next((found.noise for found in fit.profiles.values()), None),
        "conventions": ["C = 6 N D", *rows.notes],
        "at": [dict(place) for place in at],
        "scalelab": version("scalelab"),
    }
